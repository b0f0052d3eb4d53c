"""The whole recipe on a tiny synthetic world, and what a second, a forced and a killed call do."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch

from vills.cli import main

STAGES = ["prepare", "lse", "pretrain", "finetune/pretrained", "finetune/scratch", "evaluate"]


def stamps(folder):
    return {stage: (folder / stage / "stage.json").stat().st_mtime_ns for stage in STAGES}


def weights(path):
    return torch.load(path, weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def tracked(tiny):
    client = mlflow.MlflowClient(tracking_uri=tiny.store)
    experiment = client.get_experiment_by_name("vills_tiny")
    runs = client.search_runs([experiment.experiment_id])
    runs = [run for run in runs if "superseded" not in run.data.tags]
    parent = next(run for run in runs if run.info.run_name == "a")
    nested = {
        run.info.run_name: run
        for run in runs
        if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    }
    return client, parent, nested


def test_every_stage_leaves_its_output(tiny):
    for stage in STAGES:
        assert json.loads((tiny.folder / stage / "stage.json").read_text())["stage"] == stage
    assert (tiny.folder / "pretrain" / "teacher.pt").exists()
    assert (tiny.folder / "lse" / "2" / "masks-000000.parquet").exists()


def test_results_hold_both_models_and_all_three_tasks(tiny):
    results = json.loads((tiny.folder / "evaluate" / "results.json").read_text())
    assert {(model, task) for model in results for task in results[model]} == {
        (model, task) for model in ("pretrained", "scratch") for task in ("image", "video", "image_to_video")
    }
    for model in results.values():
        for values in model.values():
            assert 0 < values["mAP"] <= 1
            assert values["rank_1"] <= values["rank_5"] <= values["rank_10"] <= values["rank_20"]


def test_pretraining_moves_the_teacher_and_fine_tuning_starts_from_it(tiny):
    teacher = weights(tiny.folder / "pretrain" / "teacher.pt")
    tuned = weights(tiny.folder / "finetune" / "pretrained" / "final.pt")
    scratch = weights(tiny.folder / "finetune" / "scratch" / "final.pt")
    prefix = "model.extractor.model."
    name = "resampler.queries"
    near = (tuned[prefix + name] - teacher[name]).abs().max()
    far = (scratch[prefix + name] - teacher[name]).abs().max()
    assert near < far
    assert not any("student" in key or "heads." in key for key in teacher)


def test_parent_run_has_the_effective_settings_and_the_results(tracked):
    client, parent, _ = tracked
    assert parent.data.params["pretrain.objective.koleo_weight"] == "3.0"
    assert parent.data.params["prepare.synthetic.world.identities"] == "12"
    metrics = set(parent.data.metrics)
    assert {"pretrained/video/rank_1", "pretrained/image_to_video/rank_20", "scratch/image/mAP"} <= metrics
    assert "image/mAP" not in metrics  # no model without a name beside one with a name
    assert "| scratch/image |" in parent.data.tags["mlflow.note.content"]
    assert "image/num_queries" not in parent.data.metrics
    assert int(parent.data.params["evaluate/scratch/image/num_queries"]) > 0
    assert "version.torch" in parent.data.tags
    assert "mlflow.source.git.commit" in parent.data.tags
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {
        "config.yaml",
        "figures",
        "report.html",
        "results.json",
    }


def test_each_stage_has_a_nested_run_with_losses_and_pictures(tracked):
    client, parent, nested = tracked
    assert set(nested) == set(STAGES)
    history = client.get_metric_history(nested["pretrain"].info.run_id, "loss")
    assert [point.step for point in history] == list(range(1, 13))
    assert {"feature", "masking", "koleo", "alignment", "lr"} <= set(nested["pretrain"].data.metrics)
    assert {"id", "triplet", "accuracy"} <= set(nested["finetune/pretrained"].data.metrics)
    pictures = client.list_artifacts(parent.info.run_id, "figures")
    assert {file.path.removeprefix("figures/") for file in pictures} == {
        *("cmc.png", "summary.png", "losses.png", "attention_image.png", "attention_clip.png"),
        *("ranked_image.png", "ranked_video.png", "ranked_image_to_video.png"),
    }


def test_a_second_call_skips_everything_and_force_redoes_the_stage(tiny, tracked, capsys):
    before = stamps(tiny.folder)
    capsys.readouterr()
    assert main(["run", *tiny.command]) == 0
    said = capsys.readouterr()
    assert stamps(tiny.folder) == before
    assert said.err.count("reused") == len(STAGES)
    assert "image-to-video" in said.out  # the table is printed all the same
    assert main(["evaluate", *tiny.command, "--force", "evaluate"]) == 0
    changed = {stage for stage, stamp in stamps(tiny.folder).items() if stamp != before[stage]}
    assert changed == {"evaluate"}


KILLED_AT_STEP_FIVE = """
import os, signal, sys
import reid_core.training.module
from vills.cli import main

def write(state, path, original=reid_core.training.module.write_checkpoint):
    if state["step"] == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    original(state, path)

reid_core.training.module.write_checkpoint = write
main(sys.argv[1:])
"""


@pytest.mark.faults
def test_killed_in_mid_pretraining_it_resumes_to_the_same_bits(tiny, tmp_path):
    command = ["pretrain", *tiny.on_disk, "--runs", str(tmp_path)]
    folder = tmp_path / "vills_tiny" / "a" / "pretrain"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_AT_STEP_FIVE, *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert torch.load(folder / "last.ckpt", weights_only=True)["step"] == 4
    assert not (folder / "teacher.pt").exists()
    assert main(command) == 0
    resumed = weights(folder / "teacher.pt")
    whole = weights(tiny.folder / "pretrain" / "teacher.pt")
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_going_back_to_old_settings_runs_nothing_and_both_weights_are_there(tiny, capsys):
    assert main(["pretrain", *tiny.command, "--pretrain.objective.koleo_weight", "0.1"]) == 0
    other = (tiny.folder / "pretrain").resolve()
    capsys.readouterr()
    assert main(["pretrain", *tiny.command]) == 0
    assert capsys.readouterr().err.count("reused") == 3
    assert (other / "teacher.pt").exists() and (tiny.folder / "pretrain" / "teacher.pt").exists()
    assert other != (tiny.folder / "pretrain").resolve()


def test_the_model_folder_loads_and_gives_the_features_that_were_evaluated(tiny):
    from reid_core.data import Manifest
    from reid_core.models import load

    embedder = load(tiny.folder / "finetune" / "pretrained" / "model")
    market = Manifest.load(tiny.folder / "prepare" / "data.image.parquet", tiny.data / "market1501")
    query = market.select("query")
    features = np.load(tiny.folder / "evaluate" / "pretrained" / "query_images.npy")
    np.testing.assert_allclose(embedder.embed(query.files), features, atol=1e-5)
    card = (tiny.folder / "finetune" / "pretrained" / "model" / "README.md").read_text()
    assert "synthetic world in the layout of market1501" in card


def test_checkpoints_and_weights_name_the_digest_that_they_were_made_under(tiny):
    record = json.loads((tiny.folder / "pretrain" / "stage.json").read_text())
    for name in ("teacher.pt", "final.pt", "last.ckpt"):
        state = torch.load(tiny.folder / "pretrain" / name, weights_only=True)
        assert state["digest"] == record["digest"]


@pytest.mark.slow
def test_rows_of_a_table_share_what_they_can(tiny):
    table = "lambda_2_market1501"
    assert main(["ablate", table, *tiny.command, "--name", "table", "--finetune.init", "pretrained"]) == 0
    made = {path.name.rpartition("-")[0] for path in (tiny.runs / "stages").iterdir() if path.is_dir()}
    assert {"prepare", "vills-lse", "vills-pretrain"} <= made
    runs = tiny.runs / "vills_tiny"
    rows = sorted(path.name for path in runs.glob(f"table.{table}.*") if path.is_dir())
    ends = ("lambda-2-1.0", "lambda-2-2.0", "w-o-the-masking-loss")
    assert rows == [f"table.{table}.{end}" for end in ends]
    for stage in ("prepare", "lse"):
        assert {(runs / row / stage).resolve() for row in rows} == {(tiny.folder / stage).resolve()}
    assert len({(runs / row / "pretrain").resolve() for row in rows}) == 3
    tables = runs / "table" / "tables"
    assert {path.suffix for path in tables.iterdir()} == {".csv", ".md", ".html", ".png"}
    lines = (tables / f"{table}.csv").read_text().splitlines()
    assert len(lines) == 4 and "92.0" in lines[1]  # the paper's number beside ours


@pytest.mark.faults
def test_an_unreadable_query_counts_as_a_miss_and_is_told_with_the_results(tiny, tmp_path, capsys):
    data = Path(shutil.copytree(tiny.data, tmp_path / "data"))
    broken = min((data / "market1501" / "query").glob("*.jpg"))
    broken.write_bytes(b"")
    roots = ["--data.image.root", str(data / "market1501"), "--data.video.root", str(data / "mars")]
    roots += ["--data.pretrain", f"[{{name: folder, root: {data / 'folder'}}}]", "--name", "broken"]
    command = ["run", *tiny.on_disk, *roots]
    assert main(command) == 1
    told = capsys.readouterr().err
    assert "finetune/pretrained: done, reused" in told
    folder = tiny.runs / "vills_tiny" / "broken" / "evaluate"
    found = json.loads((folder / "results.json").read_text())["pretrained"]["image"]
    assert found["num_unreadable_queries"] == 1 and found["num_valid_queries"] == found["num_queries"]
    assert f"incomplete: evaluate/pretrained/image: 1 of {found['num_queries']} queries could not" in told
    named = (folder / "pretrained" / "query_images.unreadable.txt").read_text()
    assert named == f"{broken}\n"
    assert (folder / "figures" / "ranked_image.png").exists()
    assert main([*command, "--allow_unreadable", "0.5"]) == 0


@pytest.mark.faults
def test_results_are_written_before_pictures_are_drawn(tiny, monkeypatch, capsys):
    def fail(*_):
        raise OSError("no font to draw with")

    monkeypatch.setattr("vills.stages.evaluate.draw_figures", fail)
    before = set((tiny.runs / "stages").glob("vills-evaluate-*/results.json"))
    assert main(["evaluate", *tiny.on_disk, "--name", "no_pictures", "--evaluate.top", "3"]) == 1
    assert "no font to draw with" in capsys.readouterr().err
    (written,) = set((tiny.runs / "stages").glob("vills-evaluate-*/results.json")) - before
    assert set(json.loads(written.read_text())) == {"pretrained", "scratch"}


def test_without_labelled_data_a_run_is_pretraining_alone(tiny, capsys):
    alone = ["--name", "alone", "--data.image", "null", "--data.video", "null", "--data.same_people", "false"]
    assert main(["run", *tiny.on_disk, *alone]) == 0
    folder = tiny.runs / "vills_tiny" / "alone"
    assert {path.name for path in folder.iterdir() if path.is_symlink()} == {"prepare", "lse", "pretrain"}
    shown = json.loads((folder / "pretrain" / "stage.json").read_text())["summary"]
    assert shown["sources"] == ["folder"] and (folder / "pretrain" / "teacher.pt").exists()
    capsys.readouterr()
    assert main(["finetune", *tiny.on_disk, *alone]) == 1
    assert "no stage 'finetune'; there are prepare, lse, pretrain" in capsys.readouterr().err


def test_labelled_images_can_be_kept_out_of_pretraining(tiny):
    options = ["--data.pretrain_splits", "[]", "--name", "kept_out"]
    assert main(["pretrain", *tiny.on_disk, *options]) == 0
    record = json.loads((tiny.runs / "vills_tiny" / "kept_out" / "pretrain" / "stage.json").read_text())
    assert record["summary"]["sources"] == ["folder"]


@pytest.mark.slow
def test_models_kept_after_epochs_are_scored_and_drawn_in_one_figure(tiny, tmp_path):
    options = ["--name", "epochs", "--finetune.evaluate_every", "1", "--finetune.train.steps", "8"]
    assert main(["run", *tiny.on_disk, *options]) == 0
    folder = tiny.runs / "vills_tiny" / "epochs"
    results = json.loads((folder / "evaluate" / "results.json").read_text())
    for scores in results.values():
        assert list(scores["epochs"]) == ["1", "2"]  # 32 images, 8 a batch: an epoch has 4 steps
        assert scores["epochs"]["2"]["image"]["mAP"] == pytest.approx(scores["image"]["mAP"])
    assert main(["curves", str(folder), "--metric", "image/mAP", "--out", str(tmp_path / "s2.png")]) == 0
    assert (tmp_path / "s2.png").stat().st_size
    with pytest.raises(ValueError, match="run it with finetune.evaluate_every"):
        main(["curves", str(tiny.folder), "--out", str(tmp_path / "none.png"), "--traceback"])


def test_curves_of_several_runs_are_lines_of_one_figure(tmp_path, monkeypatch):
    for run, model in (("image_only", "pretrained"), ("vanilla", "scratch")):
        epochs = {epoch: {"image": {"rank_1": 0.5}} for epoch in ("1", "2")}
        (tmp_path / run / "evaluate").mkdir(parents=True)
        (tmp_path / run / "evaluate" / "results.json").write_text(json.dumps({model: {"epochs": epochs}}))
    figures = []
    monkeypatch.setattr("reid_eval.figures.save_figure", lambda figure, path: figures.append(figure))
    runs = [str(tmp_path / run) for run in ("image_only", "vanilla")]
    assert main(["curves", *runs, "--out", str(tmp_path / "s2.png")]) == 0
    [figure] = figures
    [axes] = figure.axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert lines == dict.fromkeys(("image_only", "vanilla"), [[1, 50], [2, 50]])


@pytest.mark.slow
def test_a_cnn_without_attention_is_fine_tuned_and_scored(tiny):
    options = [
        "--name",
        "cnn",
        "--model.backbone",
        "resnet18",
        "--model.options",
        "{}",
        "--model.tokens",
        "0",
    ]
    assert main(["run", *tiny.on_disk, *options, "--finetune.init", "scratch", "--traceback"]) == 0
    folder = tiny.runs / "vills_tiny" / "cnn" / "evaluate"
    assert "mAP" in json.loads((folder / "results.json").read_text())["scratch"]["image"]
    pictures = {path.name for path in (folder / "figures").iterdir()}
    assert "cmc.png" in pictures and "attention_image.png" not in pictures


def test_attention_of_several_models_is_drawn_over_images_and_clips(tiny, tmp_path):
    models = {name: str(tiny.folder / "finetune" / name / "model") for name in ("scratch", "pretrained")}
    images = [str(file) for file in sorted((tiny.data / "market1501" / "query").glob("*.jpg"))[:2]]
    clip = next((tiny.data / "mars" / "bbox_test").iterdir())
    command = ["attention", "--models", json.dumps(models), "--images", json.dumps(images)]
    assert main([*command, "--clips", json.dumps([str(clip)]), "--out", str(tmp_path), "--traceback"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"images.png", f"{clip.name}.png"}
