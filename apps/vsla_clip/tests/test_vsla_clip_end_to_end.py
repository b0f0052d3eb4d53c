"""From a synthetic world to Table 3's rows, at the smallest size; and what second and killed calls do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
import torch
from safetensors.torch import load_file

import reid_core.training.loop
from vsla_clip.base import build_clip
from vsla_clip.cli import main, parse_config

TINY = Path(__file__).parent / "tiny.yaml"
ROWS = ["frozen", "ft_clip", "vsla_clip_pbp"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """One whole ablation; other tests read its files, or go on from a copy of them."""
    runs = tmp_path_factory.mktemp("vsla") / "runs"
    options = ["--config", str(TINY), "--runs", str(runs)]
    assert main(["ablate", *options, "--traceback"]) == 0
    return SimpleNamespace(options=options, runs=runs, folder=runs / "tiny" / "a")


def weights(folder):
    return torch.load(folder / "final.pt", weights_only=True)["state_dict"]


def test_each_row_is_scored_in_both_directions(tiny):
    found = json.loads((tiny.folder / "ablation.json").read_text())
    assert list(found) == ROWS
    for row in found.values():
        assert list(row["results"]) == ["all", "aerial to ground", "ground to aerial"]
        for values in row["results"].values():
            assert 0 < values["mAP"] <= 1
        one_way = [row["results"][name] for name in ("aerial to ground", "ground to aerial")]
        both = sum(values["mAP"] * values["num_queries"] for values in one_way)
        assert row["results"]["all"]["mAP"] == pytest.approx(
            both / 8
        )  # four people, a query from each camera
    parameters = {name: row["parameters"]["trainable"] for name, row in found.items()}
    assert parameters["frozen"] == 0 < parameters["vsla_clip_pbp"] < parameters["ft_clip"]


def test_adapters_leave_clip_as_it_was_and_are_a_small_file(tiny):
    config = parse_config(["run", *tiny.options])
    before = build_clip(config, tiny.folder / "clip").visual.state_dict()
    tuned, full = (weights(tiny.folder / "stage2" / name) for name in ("vsla_clip_pbp", "ft_clip"))
    name = "transformer.resblocks.0.{}mlp.c_fc.weight"
    base = tuned["encoder.base." + name.format("block.")]
    assert torch.equal(base, before[name.format("")])
    assert not torch.equal(full["encoder.base." + name.format("block.")], base)
    adapter = load_file(tiny.folder / "stage2" / "vsla_clip_pbp" / "adapter" / "adapter.safetensors")
    found = json.loads((tiny.folder / "ablation.json").read_text())["vsla_clip_pbp"]["parameters"]
    assert sum(tensor.numel() for tensor in adapter.values()) == found["trainable"]


def test_stage_one_learns_prompts_and_nothing_else(tiny):
    learned = weights(tiny.folder / "stage1")
    base = {name.removeprefix("clip."): value for name, value in weights(tiny.folder / "clip").items()}
    assert learned["prompts.id_prompts"].shape == (8, 4, 32)
    assert learned["prompts.shared_prompts"].shape == (4, 32)
    assert torch.equal(learned["prompts.text_projection"], base["text_projection"])


def test_stages_are_nested_runs_with_their_losses(tiny):
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tiny.runs}/mlflow.db")
    experiment = client.get_experiment_by_name("tiny").experiment_id
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    names = {"prepare", "clip", "stage1", "stage2/vsla_clip_pbp", "evaluate/vsla_clip_pbp", "a"}
    assert names <= set(runs)
    assert {"v2sce", "i2t", "t2i", "triplet", "id"} <= set(runs["stage2/vsla_clip_pbp"].data.metrics)
    assert {"vsla_clip_pbp/mAP", "vsla_clip_pbp/ground_to_aerial/rank_1"} <= set(runs["a"].data.metrics)


def test_a_second_call_does_nothing_twice_and_run_takes_what_ablate_made(tiny, capsys):
    before = {path: path.stat().st_mtime_ns for path in tiny.folder.rglob("stage.json")}
    assert len(before) == 3 + 2 + 3  # prepare, clip, stage1; two trainings; three evaluations
    capsys.readouterr()
    assert main(["run", *tiny.options]) == 0
    said = capsys.readouterr()
    assert said.err.count("skipped") == 5 and "IFA+VSA+CFAA+PBP" in said.out
    assert {path: path.stat().st_mtime_ns for path in tiny.folder.rglob("stage.json")} == before


def test_killed_in_stage_two_it_goes_on_to_the_same_bits(tiny, monkeypatch):
    shutil.copytree(tiny.folder, tiny.folder.with_name("killed"))
    folder = tiny.folder.with_name("killed") / "stage2" / "vsla_clip_pbp"
    shutil.rmtree(folder)
    command = ["stage2", *tiny.options, "--name", "killed"]
    write = reid_core.training.loop.write_checkpoint

    def dies(state, path):
        if state["step"] == 3:
            raise RuntimeError("killed")
        write(state, path)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr(reid_core.training.loop, "write_checkpoint", dies)
        main(command)
    assert not (folder / "final.pt").exists() and (folder / "last.ckpt").exists()
    assert main(command) == 0
    resumed, whole = weights(folder), weights(tiny.folder / "stage2" / "vsla_clip_pbp")
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
