"""USL and UDA end to end on tiny synthetic worlds, and what a second, a killed and a parallel call do."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import mlflow
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

import reid_core.training.module
from cion.cli import main
from cion.unsupervised.stages.target import adapt
from reid_core.data.manifest import Manifest
from reid_core.recipe import Job
from reid_core.synthetic import World, write_market1501

STAGES = ["prepare", "target", "evaluate"]


def results(folder):
    return json.loads((folder / "evaluate" / "results.json").read_text())


def weights(folder, stage="target"):
    return load_file(folder / stage / "model" / "model.safetensors")


def test_usl_scores_the_network_before_and_after(usl):
    found = results(usl.folder)
    assert list(found) == ["initial", "target"]
    for values in found.values():
        assert 0 < values["mAP"] <= 1 and values["rank_1"] <= values["rank_5"] <= values["rank_10"]
        assert (values["num_queries"], values["num_gallery"]) == (8, 24 + 2 + 1)
    assert found["initial"] != found["target"]


def test_each_round_is_logged_in_the_nested_run_of_its_stage(usl):
    client = mlflow.MlflowClient(tracking_uri=usl.store)
    experiment = client.get_experiment_by_name("cion_tiny_usl").experiment_id
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    parent, nested = runs["a"], runs["target"]
    assert nested.data.tags["mlflow.parentRunId"] == parent.info.run_id
    history = client.get_metric_history(nested.info.run_id, "loss")
    assert [point.step for point in history] == list(range(1, 7))
    clusters = client.get_metric_history(nested.info.run_id, "clusters")
    assert [point.step for point in clusters] == [0, 3] and all(point.value >= 2 for point in clusters)
    assert {"initial/mAP", "target/mAP", "target/rank_1"} <= set(parent.data.metrics)
    assert parent.data.params["target.clusters.k1"] == "6" and "version.torch" in parent.data.tags
    assert [file.path for file in client.list_artifacts(parent.info.run_id)] == [
        "config.yaml",
        "figures",
        "report.html",
        "results.json",
    ]


class Unlabelled(Job):
    """A job whose target has lost its labels."""

    def manifest(self, source, *splits):
        rows = super().manifest(source, *splits)
        return Manifest(rows.table.assign(pid=7), rows.root)


def test_the_targets_training_labels_do_not_matter(usl, tmp_path):
    adapt(usl.job("target", usl.config(), tmp_path, Unlabelled))
    learned = load_file(tmp_path / "model" / "model.safetensors")
    whole = weights(usl.folder)
    assert whole and all(torch.equal(learned[name], value) for name, value in whole.items())


def test_a_second_call_runs_nothing_and_prints_the_table(usl, capsys):
    before = {stage: (usl.folder / stage / "stage.json").stat().st_mtime_ns for stage in STAGES}
    capsys.readouterr()
    assert main(["unsupervised", "run", *usl.command]) == 0
    said = capsys.readouterr()
    assert said.err.count("reused") == len(STAGES) and "Cluster Contrast" in said.out
    assert {stage: (usl.folder / stage / "stage.json").stat().st_mtime_ns for stage in STAGES} == before


@pytest.mark.faults
def test_killed_within_a_round_it_resumes_to_the_same_bits(usl, tmp_path, monkeypatch):
    command = ["unsupervised", "run", *usl.command, "--runs", str(tmp_path)]
    write = reid_core.training.module.write_checkpoint

    def dies(state, path):
        if state["step"] == 2 and path.parent.name == "round_001":
            raise RuntimeError("killed")
        write(state, path)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr(reid_core.training.module, "write_checkpoint", dies)
        main(command)
    folder = tmp_path / "cion_tiny_usl" / "a"
    first = folder / "target" / "rounds" / "round_000" / "done.json"
    stamp = first.stat().st_mtime_ns
    assert not (folder / "target" / "model").exists()
    assert main(command) == 0
    assert first.stat().st_mtime_ns == stamp
    resumed, whole = weights(folder), weights(usl.folder)
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    assert results(folder)["target"] == results(usl.folder)["target"]


@pytest.mark.slow
def test_two_processes_cluster_train_and_score_together(usl, tmp_path):
    if not (dist.is_available() and dist.is_gloo_available()):
        pytest.skip("this torch has no gloo: two processes on CPU can't talk")
    command = ["unsupervised", "run", *usl.command, "--runs", str(tmp_path), "--runtime.devices", "2"]
    command += ["--runtime.strategy", "ddp_find_unused_parameters_true"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, "-m", "cion.cli", *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "cion_tiny_usl" / "a"
    assert results(folder)["initial"] == pytest.approx(results(usl.folder)["initial"])
    first = "target/rounds/round_000/clusters/done.json"  # before the first step, the same is clustered
    assert (folder / first).read_text() == (usl.folder / first).read_text()
    neck = weights(folder)["neck.weight"]
    assert not torch.equal(neck, torch.ones_like(neck))


def test_uda_learns_from_the_labelled_source_first(usl, tmp_path):
    world = World(identities=10, cameras=2, height=32, width=16, seed=1, clutter=0.0, occlusion=0.0)
    root = write_market1501(world, tmp_path / "source", 8, 2, progress=False)
    command = ["unsupervised", "run", *usl.command, "--name", "uda", "--clusters.rounds", "1"]
    command += ["--data.source.name", "market1501", "--data.source.root", str(root)]
    assert main([*command, "--traceback"]) == 0
    folder = usl.folder.with_name("uda")
    found = results(folder)
    assert list(found) == ["initial", "source", "target"]
    assert len({values["mAP"] for values in found.values()}) == 3
    summary = json.loads((folder / "source" / "stage.json").read_text())["summary"]
    assert (summary["images"], summary["identities"]) == (32, 8)
    begun, source, learned = (
        weights(place, stage)["neck.weight"]
        for place, stage in ((usl.folder, "target"), (folder, "source"), (folder, "target"))
    )
    assert not torch.equal(source, learned) and not torch.equal(begun, learned)
    about = json.loads((folder / "target" / "model" / "config.json").read_text())
    assert about["training_data"] == ["market1501", "synthetic world in the layout of market1501 (unlabeled)"]
