"""The whole recipe on a tiny synthetic world, and what second, killed and parallel calls do."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from reid_core import data
from vsla_clip.cli import main

STAGES = ["prepare", "clip", "stage1", "stage2", "evaluate"]


def weights(folder):
    return torch.load(folder / "final.pt", weights_only=True)["state_dict"]


def read(path):
    return json.loads(path.read_text())


def test_it_is_scored_in_both_directions(tiny):
    results = read(tiny.folder / "evaluate" / "results.json")
    assert list(results) == ["all", "aerial to ground", "ground to aerial"]
    one_way = [results[name] for name in list(results)[1:]]
    assert all(0 < values["mAP"] <= 1 for values in one_way)
    both = sum(values["mAP"] * values["num_queries"] for values in one_way)
    assert results["all"]["mAP"] == pytest.approx(both / 8)  # four people, a query from each camera


def test_adapters_leave_clip_as_it_was_and_are_a_small_file(tiny):
    before, tuned = weights(tiny.folder / "clip"), weights(tiny.folder / "stage2")
    base = tuned["encoder.base.transformer.resblocks.0.block.mlp.c_fc.weight"]
    assert torch.equal(base, before["clip.visual.transformer.resblocks.0.mlp.c_fc.weight"])
    adapter = load_file(tiny.folder / "stage2" / "adapter" / "adapter.safetensors")
    counts = read(tiny.folder / "stage2" / "stage.json")["summary"]
    assert sum(tensor.numel() for tensor in adapter.values()) == counts["trainable"] < counts["total"]
    assert counts["tunable"] == counts["trainable"] + (8 * 4 + 4) * 32  # and stage one's prompts


def test_stage_one_learns_prompts_and_nothing_else(tiny):
    learned, base = weights(tiny.folder / "stage1"), weights(tiny.folder / "clip")
    assert learned["prompts.id_prompts"].shape == (8, 4, 32)
    assert learned["prompts.shared_prompts"].shape == (4, 32)
    assert torch.equal(learned["prompts.text_projection"], base["clip.text_projection"])


def test_stages_are_nested_runs_with_their_losses(tiny):
    client = mlflow.MlflowClient(tracking_uri=tiny.store)
    experiment = client.get_experiment_by_name("vsla_tiny").experiment_id
    parent = next(run for run in reversed(client.search_runs([experiment])) if run.info.run_name == "a")
    nested = {
        run.info.run_name: run
        for run in client.search_runs([experiment])
        if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    }
    assert set(STAGES) == set(nested)
    assert {"v2sce", "i2t", "t2i", "triplet", "id"} <= set(nested["stage2"].data.metrics)
    assert {"all/mAP", "ground to aerial/rank_1"} <= set(parent.data.metrics)
    assert int(parent.data.params["parameters/tunable"]) > 0 and "mAP" not in parent.data.metrics


def test_a_second_call_runs_nothing_and_prints_the_table(tiny, capsys):
    assert main(["run", *tiny.command]) == 0
    said = capsys.readouterr()
    assert said.err.count("reused") == len(STAGES) and "IFA+VSA+CFAA+PBP" in said.out


def test_another_method_shares_what_it_can_and_trains_the_whole_encoder(tiny):
    assert main(["run", *tiny.command, "--name", "full", "--method", "ft_clip"]) == 0
    folder = tiny.folder.with_name("full")
    for stage in ("prepare", "clip", "stage1"):
        assert (folder / stage).resolve() == (tiny.folder / stage).resolve()
    name = "encoder.base.transformer.resblocks.0.block.mlp.c_fc.weight"
    assert not torch.equal(weights(folder / "stage2")[name], weights(tiny.folder / "stage2")[name])
    assert not (folder / "stage2" / "adapter").exists()


def test_frozen_clip_is_evaluated_without_a_training(tiny, capsys):
    assert main(["run", *tiny.command, "--name", "frozen", "--method", "frozen"]) == 0
    assert "frozen CLIP" in capsys.readouterr().out
    assert not (tiny.folder.with_name("frozen") / "stage1").exists()


@pytest.mark.slow
def test_without_assertions_every_stage_runs_too(tiny):
    code = "import sys; from vsla_clip.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [*tiny.command, "--name", "optimised", "--stage1.train.epochs", "1"]
    subprocess.run([sys.executable, "-O", "-c", code, "stage1", *command], check=True, timeout=600)
    assert (tiny.folder.with_name("optimised") / "stage1" / "final.pt").exists()


KILLED_AT_STEP_THREE = """
import os, signal, sys
import reid_core.training.module
from reid_core import data
from vsla_clip.cli import main

def write(state, path, original=reid_core.training.module.write_checkpoint):
    if state["step"] == 3 and "stage2" in str(path):
        os.kill(os.getpid(), signal.SIGKILL)
    original(state, path)

reid_core.training.module.write_checkpoint = write
main(sys.argv[1:])
"""


@pytest.mark.faults
def test_killed_in_stage_two_it_goes_on_to_the_same_bits(tiny, tmp_path):
    command = ["stage2", *tiny.command, "--runs", str(tmp_path)]
    folder = tmp_path / "vsla_tiny" / "a" / "stage2"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_AT_STEP_THREE, *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert torch.load(folder / "last.ckpt", weights_only=True)["step"] == 2
    assert not (folder / "final.pt").exists()
    assert main(command) == 0
    resumed, whole = weights(folder), weights(tiny.folder / "stage2")
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


@pytest.mark.slow
def test_under_torchrun_two_processes_learn_what_one_learns_on_the_whole_batch(tiny, tmp_path):
    if not (dist.is_available() and dist.is_gloo_available()):
        pytest.skip("this torch has no gloo: two processes on CPU can't talk")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = ["run", *tiny.command, "--runs", str(tmp_path), "--runtime.devices", "2", "--traceback"]
    command += ["--stage1.batch", "4", "--stage1.batch_per_device", "true"]  # half of tiny.yaml's each
    command += ["--stage2.identities", "2", "--stage2.batch_per_device", "true"]
    done = subprocess.run(
        [*launch, "-m", "vsla_clip.cli", *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "vsla_tiny" / "a"
    assert (folder / "stage2" / "adapter" / "adapter.safetensors").exists()
    for stage in ("clip", "stage1", "stage2"):
        two, one = weights(folder / stage), weights(tiny.folder / stage)
        for name in one:
            # Attention ignores keys' biases: Adam makes steps of their gradients' rounding. A neck sees the
            # gathered batch once in each process: its running variance, which nothing reads, counts 16 rows.
            if not name.endswith(("in_proj_bias", "qkv.bias", "neck.running_var")):
                torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=5e-5)
    assert (folder / "evaluate" / "results.json").exists()


@pytest.mark.faults
def test_an_unreadable_query_counts_as_a_miss_and_is_told_with_the_results(tiny, tmp_path, capsys):
    copied = Path(shutil.copytree(tiny.data, tmp_path / "mars"))
    rows = data.read("mars", copied).select("query")
    for frame in rows.take(rows.tracklets()[0]).files:
        frame.write_bytes(b"")
    command = ["run", *tiny.on_disk, "--data.root", str(copied), "--name", "broken"]
    assert main(command) == 1
    told = capsys.readouterr().err
    assert "stage2: done, reused" in told
    found = json.loads((tiny.runs / "vsla_tiny" / "broken" / "evaluate" / "results.json").read_text())["all"]
    assert found["num_unreadable_queries"] == 1 and found["num_valid_queries"] == found["num_queries"]
    assert f"incomplete: evaluate/all: 1 of {found['num_queries']} queries could not be read" in told
    assert main([*command, "--allow_unreadable", "0.5"]) == 0


@pytest.mark.faults
def test_prompts_learn_nothing_of_a_tracklet_that_cannot_be_read(tiny, tmp_path, monkeypatch, capsys):
    copied = Path(shutil.copytree(tiny.data, tmp_path / "mars"))
    rows = data.read("mars", copied).select("train")
    for frame in rows.take(rows.tracklets()[0]).files:
        frame.write_bytes(b"")
    sizes = []

    def stop(objective, known, *_):
        sizes.append(len(known))
        raise ValueError("enough seen")

    monkeypatch.setattr("vsla_clip.stages.stage1.fit", stop)
    assert main(["stage1", *tiny.on_disk, "--data.root", str(copied), "--name", "lost_tracklet"]) == 1
    assert "enough seen" in capsys.readouterr().err and sizes == [len(rows.tracklets()) - 1]
