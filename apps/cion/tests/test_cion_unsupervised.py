"""USL and UDA end to end on tiny synthetic worlds, and what a second, a forced and a killed call do."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
import torch

import reid_core.training.module
from cion.cli import build_parser, main
from cion.config import Config
from cion.training import build_model, train_target
from reid_core.data.manifest import Manifest
from reid_core.data.readers import read

HERE = Path(__file__).parent
TINY = HERE / "tiny.yaml"
SOURCE = (
    "{world: {identities: 10, cameras: 2, height: 32, width: 16, seed: 1, clutter: 0.0, occlusion: 0.0}, "
    "layout: {train_identities: 8, images_per_camera: 2, workers: 1, progress: false}}"
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """One whole run of USL; other tests read its files and add runs beside it, on the world that it wrote."""
    runs = tmp_path_factory.mktemp("cion") / "runs"
    command = ["unsupervised", "--config", str(TINY), "--runs", str(runs)]
    assert main([*command, "--traceback"]) == 0
    folder = runs / "tiny" / "usl"
    world = folder / "world" / "target" / "market1501"
    on_disk = [*command, "--target.synthetic", "null", "--target.root", str(world)]

    def config():
        parser = build_parser()
        chosen = parser.instantiate(parser.parse_args(on_disk)).unsupervised
        return Config(**{name: chosen[name] for name in Config.__dataclass_fields__})

    return SimpleNamespace(
        command=command, folder=folder, runs=runs, world=world, on_disk=on_disk, config=config
    )


def results(folder):
    return json.loads((folder / "evaluate" / "results.json").read_text())


def weights(folder):
    return torch.load(folder / "target" / "final.pt", weights_only=True)["state_dict"]


def test_usl_scores_the_network_before_and_after(tiny):
    found = results(tiny.folder)
    assert list(found) == ["initial", "target"]
    for values in found.values():
        assert 0 < values["mAP"] <= 1 and values["rank_1"] <= values["rank_5"] <= values["rank_10"]
        assert (values["num_queries"], values["num_gallery"]) == (8, 24 + 2 + 1)
    assert found["initial"] != found["target"]


def test_each_round_is_logged_in_the_nested_run_of_its_stage(tiny):
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tiny.runs}/mlflow.db")
    experiment = client.get_experiment_by_name("tiny").experiment_id
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    parent, nested = runs["usl"], runs["target"]
    assert nested.data.tags["mlflow.parentRunId"] == parent.info.run_id
    history = client.get_metric_history(nested.info.run_id, "loss")
    assert [point.step for point in history] == list(range(1, 7))
    clusters = client.get_metric_history(nested.info.run_id, "clusters")
    assert [point.step for point in clusters] == [0, 3] and all(point.value >= 2 for point in clusters)
    assert {"initial/mAP", "target/mAP", "target/rank_1"} <= set(parent.data.metrics)
    assert parent.data.params["clusters.k1"] == "6" and "version.torch" in parent.data.tags
    assert [file.path for file in client.list_artifacts(parent.info.run_id)] == ["config.json"]


def test_the_targets_training_labels_do_not_matter(tiny, tmp_path):
    config = tiny.config()
    target = read("market1501", tiny.world)
    unlabeled = Manifest(target.table.assign(pid=7), target.root)
    train_target(config, unlabeled, build_model(config), tmp_path / "rounds", tmp_path)
    learned = torch.load(tmp_path / "final.pt", weights_only=True)["state_dict"]
    assert all(torch.equal(learned[name], value) for name, value in weights(tiny.folder).items())


def test_a_second_call_skips_everything_and_more_rounds_go_on(tiny, capsys):
    before = {path: path.stat().st_mtime_ns for path in tiny.folder.rglob("stage.json")}
    capsys.readouterr()
    assert main(tiny.command) == 0
    said = capsys.readouterr()
    assert said.err.count("skipped") == 3 and "Cluster Contrast" in said.out
    assert {path: path.stat().st_mtime_ns for path in tiny.folder.rglob("stage.json")} == before
    command = [*tiny.on_disk, "--name", "longer"]
    assert main([*command, "--clusters.rounds", "1"]) == 0
    first = tiny.runs / "tiny" / "longer" / "rounds" / "round_000" / "done.json"
    stamp = first.stat().st_mtime_ns
    assert main(command) == 0
    assert first.stat().st_mtime_ns == stamp
    longer, whole = weights(tiny.runs / "tiny" / "longer"), weights(tiny.folder)
    assert all(torch.equal(longer[name], whole[name]) for name in whole)


def test_killed_within_a_round_it_goes_on_to_the_same_bits(tiny, monkeypatch):
    command = [*tiny.on_disk, "--name", "killed"]
    write = reid_core.training.module.write_checkpoint

    def dies(state, path):
        if state["step"] == 2 and path.parent.name == "round_001":
            raise RuntimeError("killed")
        write(state, path)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr(reid_core.training.module, "write_checkpoint", dies)
        main(command)
    folder = tiny.runs / "tiny" / "killed"
    first = folder / "rounds" / "round_000" / "done.json"
    stamp = first.stat().st_mtime_ns
    assert not (folder / "target" / "final.pt").exists()
    assert main(command) == 0
    assert first.stat().st_mtime_ns == stamp
    resumed, whole = weights(folder), weights(tiny.folder)
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    assert results(folder)["target"] == results(tiny.folder)["target"]


def test_uda_learns_from_the_labelled_source_first(tiny):
    command = [*tiny.on_disk, "--name", "uda", "--source.synthetic", SOURCE, "--clusters.rounds", "1"]
    assert main([*command, "--traceback"]) == 0
    folder = tiny.runs / "tiny" / "uda"
    found = results(folder)
    assert list(found) == ["initial", "source", "target"]
    assert len({values["mAP"] for values in found.values()}) == 3
    summary = json.loads((folder / "source" / "stage.json").read_text())["summary"]
    assert summary == {"images": 32, "identities": 8}
    source = torch.load(folder / "source" / "final.pt", weights_only=True)["state_dict"]
    name = "model.classifier.weight"  # the target's training leaves it as the source's labels made it
    assert torch.equal(source[name], weights(folder)[name])
    assert not torch.equal(source["model.neck.weight"], weights(folder)["model.neck.weight"])
