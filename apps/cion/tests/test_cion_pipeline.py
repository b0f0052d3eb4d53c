"""The recipe end to end on a tiny synthetic world: what it leaves, and a second, killed or parallel call."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from cion.cli import main, parse_config
from cion.pipeline.check import check
from cion.pipeline.features import given_features
from cion.pipeline.pretrain import build_objective
from cion.pipeline.tracklets import mistracked
from reid_core.data.manifest import Manifest

TINY = Path(__file__).parent / "tiny_run.yaml"
VARIANTS = ["none", "dino", "raw", "cross_video"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """One whole run; other tests read its files, and add runs beside it."""
    runs = tmp_path_factory.mktemp("cion") / "runs"
    command = ["--config", str(TINY), "--runs", str(runs)]
    assert main(["run", *command, "--traceback"]) == 0
    return SimpleNamespace(command=command, folder=runs / "tiny_run" / "a", runs=runs)


def read(path: Path):
    return json.loads(path.read_text())


def test_a_backbone_of_one_image_size_is_refused_where_local_views_have_another():
    options = ["--model.backbone", "beit_base_patch16_224", "--model.image_size", "[32, 16]"]
    options += [
        "--model.options",
        "{depth: 1, embed_dim: 32, num_heads: 2}",
        "--pretrain.local_size",
        "[64, 32]",
    ]
    config = parse_config(["run", "--config", str(TINY), *options])
    with pytest.raises(ValueError, match="at pretrain.local_size: .* takes images of 32x16 alone, got 64x32"):
        check(config)


def test_the_run_scores_every_variant_in_the_order_asked_for(tiny):
    found = read(tiny.folder / "evaluate" / "results.json")
    assert list(found) == VARIANTS
    assert all(0 < values["mAP"] <= 1 for values in found.values())
    assert len({values["mAP"] for values in found.values()}) > 1


def test_denoising_is_told_level_by_level_beside_the_truth(tiny):
    summary = read(tiny.folder / "denoise" / "stage.json")["summary"]
    assert list(summary) == ["raw", "tracklet", "video", "cross_video"]
    for level, values in summary.items():
        identity = np.load(tiny.folder / "denoise" / f"{level}.npy")
        assert values["images"] == (identity >= 0).sum()
        assert values["identities"] == len(np.unique(identity[identity >= 0]))
        assert 0 <= values["f1"] <= 1
    assert summary["cross_video"]["identities"] < summary["tracklet"]["identities"]


def test_pretraining_counts_identities_with_too_few_images(tiny):
    summary = read(tiny.folder / "pretrain" / "raw" / "stage.json")["summary"]
    pids = np.load(tiny.folder / "denoise" / "raw.npy")
    counts = np.unique(pids, return_counts=True)[1]
    assert summary["with_few_images"] == (counts < 4).sum() > 0
    assert read(tiny.folder / "pretrain" / "dino" / "stage.json")["summary"]["with_few_images"] == 0


def test_dino_takes_each_image_for_a_person_of_its_own(tiny):
    summary = read(tiny.folder / "pretrain" / "dino" / "stage.json")["summary"]
    assert summary["identities"] == summary["images"] == 8 * 2 * 4


def test_fine_tuning_starts_from_the_teacher(tiny):
    teacher = load_file(tiny.folder / "pretrain" / "raw" / "backbone.safetensors")
    name = "patch_embed.proj.weight"
    far, near = (
        torch.load(tiny.folder / "finetune" / variant / "final.pt", weights_only=True)["state_dict"]
        for variant in ("none", "raw")
    )
    key = f"model.extractor.encoder.vit.{name}"
    assert (near[key] - teacher[name]).abs().max() < (far[key] - teacher[name]).abs().max()


def test_each_stage_is_a_nested_run_of_its_own(tiny):
    client = mlflow.MlflowClient(f"sqlite:///{tiny.runs}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("tiny_run").experiment_id])
    names = {run.info.run_name for run in runs if "superseded" not in run.data.tags}
    assert {"a", "tracklets", "extractor", "features", "denoise", "pretrain/raw", "finetune/dino"} <= names
    parent = next(run for run in runs if run.info.run_name == "a")
    assert {"none/mAP", "cross_video/rank_1"} <= set(parent.data.metrics)
    assert parent.data.params["pretrain.curriculum.2"] == "4"


def test_a_second_call_skips_everything(tiny, capsys):
    before = {path: path.stat().st_mtime_ns for path in tiny.folder.rglob("stage.json")}
    capsys.readouterr()
    assert main(["run", *tiny.command]) == 0
    said = capsys.readouterr()
    assert said.err.count("skipped") == len(before) == 12
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "cross-video" in said.out and "CION, denoised" in said.out


KILLED = """
import os, signal, sys
import reid_core.recipe.old_stage, reid_core.training.loop
from cion.cli import main

stage, _, step = sys.argv[1].partition("@")

def kill_at(path):
    if path.parent.as_posix().endswith(stage):
        os.kill(os.getpid(), signal.SIGKILL)

def write_checkpoint(state, path, original=reid_core.training.module.write_checkpoint):
    if str(state["step"]) == step:
        kill_at(path)
    original(state, path)

def write_atomically(path, text, original=reid_core.recipe.old_stage.write_atomically):
    if not step and path.name == reid_core.recipe.old_stage.DONE_FILE:
        kill_at(path)
    original(path, text)

reid_core.training.module.write_checkpoint = write_checkpoint
reid_core.recipe.old_stage.write_atomically = write_atomically
main(sys.argv[2:])
"""


SECOND_PHASE = "pretrain/raw@20"
"""Of the curriculum."""
POINTS = ["tracklets", "extractor@2", "features", "denoise", SECOND_PHASE, "finetune/raw@2", "evaluate"]


@pytest.mark.parametrize(
    "points", [[SECOND_PHASE], pytest.param(POINTS, marks=pytest.mark.slow)], ids=["pretrain", "every stage"]
)
def test_killed_it_resumes_to_the_same_bits(tiny, points):
    folder = tiny.runs / "tiny_run" / f"killed{len(points)}"
    command = ["run", *tiny.command, "--name", folder.name, "--variants", "[raw]"]
    command += ["--extractor.finetune.train.checkpoint_every", "1", "--finetune.train.checkpoint_every", "1"]
    for point in points:
        killed = subprocess.run(
            [sys.executable, "-c", KILLED, point, *command],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert killed.returncode == -signal.SIGKILL, (point, killed.stderr)
        stage, _, step = point.partition("@")
        assert not (folder / stage / "stage.json").exists()
        if step:
            last = torch.load(folder / stage / "last.ckpt", weights_only=True)
            assert last["step"] == int(step) - 1
    assert main(command) == 0
    for stage in ("extractor", "pretrain/raw", "finetune/raw"):
        one, whole = (
            torch.load(place / stage / "final.pt", weights_only=True)["state_dict"]
            for place in (folder, tiny.folder)
        )
        assert one.keys() == whole.keys()
        assert all(torch.equal(one[name], whole[name]) for name in whole)
    assert torch.load(folder / "pretrain/raw/final.pt", weights_only=True)["state_dict"][
        "loss.centre.value"
    ].any()
    scores, expected = (read(place / "evaluate" / "results.json")["raw"] for place in (folder, tiny.folder))
    assert scores == expected


def test_two_processes_learn_what_one_learns_on_the_whole_batch(tiny):
    if not (dist.is_available() and dist.is_gloo_available()):
        pytest.skip("this torch has no gloo: two processes on CPU can't talk")
    command = ["pretrain", *tiny.command, "--variants", "[raw]", "--name", "ddp", "--machine.devices", "2"]
    command += ["--machine.strategy", "ddp_find_unused_parameters_true"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, "-m", "cion.cli", *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    state, whole = (
        torch.load(folder / "pretrain" / "raw" / "final.pt", weights_only=True)["state_dict"]
        for folder in (tiny.runs / "tiny_run" / "ddp", tiny.folder)
    )
    torch.testing.assert_close(state["loss.centre.value"], whole["loss.centre.value"], rtol=1e-3, atol=1e-5)
    name = "student.backbone.vit.blocks.0.attn.qkv.weight"
    torch.testing.assert_close(state[name], whole[name], rtol=1e-2, atol=1e-4)


def test_the_batches_of_two_ranks_are_halves_of_one_ranks():
    config = parse_config(["run", "--config", str(TINY)])
    from reid_core.data.samplers import CurriculumBatches

    pids, settings = np.arange(64) // 4, config.pretrain
    whole = CurriculumBatches(pids, settings.batch, settings.epochs, settings.curriculum)
    halves = [
        CurriculumBatches(pids, settings.batch, settings.epochs, settings.curriculum, 0, rank, 2)
        for rank in (0, 1)
    ]
    for step in (0, len(whole) - 1):
        assert whole.batch(step) == halves[0].batch(step) + halves[1].batch(step)


@pytest.mark.parametrize("name", ["demo", "pku_reid"])
def test_a_config_compares_pretraining_with_none(name):
    config = parse_config(["run", "--config", str(TINY.parents[1] / "configs" / f"{name}.yaml")])
    assert config.variants[0] == "none" and config.variants[-1] == "cross_video"
    assert max(config.pretrain.curriculum) < config.pretrain.epochs


def test_the_prototypes_freeze_for_the_first_epoch():
    config = parse_config(["run", "--config", str(TINY)])
    assert build_objective(config, steps=30, steps_per_epoch=10).config.freeze_prototypes_steps == 10


def test_mistracking_keeps_each_image_and_its_video(tiny):
    videos = Manifest.load(tiny.folder / "tracklets" / "videos.parquet")
    again = mistracked(videos, 0.5, 0.5, 3)
    assert (again.table["path"] == videos.table["path"]).all()
    assert (again.table["video"] == videos.table["video"]).all()
    changed = (again.table["tracklet"] != videos.table["tracklet"]).mean()
    assert 0.2 < changed < 0.9


def test_features_of_another_manifest_are_refused(tiny, tmp_path, capsys):
    videos = Manifest.load(tiny.folder / "tracklets" / "videos.parquet")
    np.save(tmp_path / "f.npy", np.zeros((3, 8), dtype=np.float32))
    with pytest.raises(ValueError, match=r"f.npy holds float32 \(3, 8\), but the manifest .* has 64 rows"):
        given_features(tmp_path / "f.npy", videos)
    command = ["denoise", *tiny.command, "--name", "given", "--extractor.features", str(tmp_path / "f.npy")]
    assert main(command) == 1
    assert "extract them again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data.synthetic", "null"], "data.videos.root is empty"),
        (["--model.backbone", "resnet50ibn", "--model.options", "{}"], "resnet50_ibn"),
        (["--variants", "[raw, raw]"], "each once"),
        (["--machine.devices", "2"], "use torchrun --nproc_per_node 2"),
        (["--data.synthetic.labelled", "{}"], "the extractor has no weights"),
        (["--extractor.weights", "none.pth"], "extractor.weights: there is no file none.pth"),
    ],
)
def test_bad_input_is_one_line_and_status_1(arguments, message, tmp_path, capsys):
    command = ["run", "--config", str(TINY), "--runs", str(tmp_path / "runs"), *arguments]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert error.startswith("cion: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_more_prototypes_than_memory_holds_are_refused_before_training(tiny, capsys):
    command = ["pretrain", *tiny.command, "--variants", "[dino]", "--name", "large"]
    assert main([*command, "--pretrain.objective.prototypes", "10000000000"]) == 1
    assert "GiB free; lower prototypes" in capsys.readouterr().err
