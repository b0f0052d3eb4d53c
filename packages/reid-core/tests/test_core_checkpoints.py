"""What a training goes on from: its own digest's checkpoints, those without one, and no broken file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from reid_core.data.samplers import RandomBatches
from reid_core.training.checkpoints import read_checkpoint, write_checkpoint
from reid_core.training.config import TrainConfig
from reid_core.training.loop import fit

STEPS = 6


class Data:
    def __getitem__(self, draw) -> dict:
        return {"x": torch.randn(4, generator=torch.Generator().manual_seed(draw.index))}


class Line(nn.Linear):
    def __init__(self, stop_at: int | None = None) -> None:
        torch.manual_seed(0)
        super().__init__(4, 1)
        self.stop_at, self.steps = stop_at, 0

    def forward(self, batch: dict) -> dict:
        return {"loss": super().forward(batch["x"]).square().mean()}

    def after_step(self, step: int) -> None:
        if step == self.stop_at:
            raise InterruptedError
        self.steps += 1


def train(folder: Path, digest: str = "", objective: Line | None = None, steps: int = STEPS) -> Path:
    config = TrainConfig(steps=steps, warmup_steps=0, lr=0.05, accelerator="cpu", checkpoint_every=2)
    return fit(objective or Line(), Data(), RandomBatches(16, 4, steps), None, config, folder, digest=digest)


def interrupt(folder: Path, digest: str = "") -> None:
    with pytest.raises(InterruptedError):
        train(folder, digest, Line(stop_at=3))


def test_checkpoints_carry_the_digest_and_go_on_under_it(tmp_path):
    interrupt(tmp_path, "a1")
    resumed = Line()
    final = train(tmp_path, "a1", resumed)
    assert resumed.steps == STEPS - 2
    assert {read_checkpoint(path)["digest"] for path in (final, tmp_path / "last.ckpt")} == {"a1"}


@pytest.mark.parametrize("other", ["b2", ""])
def test_an_unfinished_training_under_another_digest_is_refused(tmp_path, other):
    interrupt(tmp_path, "a1")
    with pytest.raises(
        ValueError, match=rf"last\.ckpt was made under digest 'a1', not '{other}'; use another folder"
    ):
        train(tmp_path, other)


@pytest.mark.parametrize("steps", [STEPS, STEPS + 1])
def test_a_finished_training_under_another_digest_is_refused(tmp_path, steps):
    train(tmp_path, "a1")
    with pytest.raises(ValueError, match=r"final\.pt was made under digest 'a1', not 'b2'"):
        train(tmp_path, "b2", steps=steps)


def test_checkpoints_of_before_there_were_digests_are_gone_on_from(tmp_path):
    interrupt(tmp_path / "old")
    state = read_checkpoint(tmp_path / "old/last.ckpt")
    for name in ("digest", "optimizer_name"):
        del state[name]
    for group in state["optimizer"]["param_groups"]:
        del group["constant_decay"]
    write_checkpoint(state, tmp_path / "old/last.ckpt")
    resumed = Line()
    old = read_checkpoint(train(tmp_path / "old", "a1", resumed))
    whole = read_checkpoint(train(tmp_path / "whole", "a1"))
    assert resumed.steps == STEPS - 2
    assert all(torch.equal(value, whole["state_dict"][name]) for name, value in old["state_dict"].items())
    assert old["digest"] == "a1"


@pytest.mark.faults
def test_a_truncated_checkpoint_is_named(tmp_path):
    interrupt(tmp_path)
    last = tmp_path / "last.ckpt"
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"last\.ckpt is not a checkpoint .*; move it away to begin anew"):
        train(tmp_path)


def test_a_checkpoint_that_holds_code_is_refused_without_the_advice_to_run_it(tmp_path):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harmed"),)

    torch.save({"state_dict": {}, "step": 1, "x": Harmful()}, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=r"last\.ckpt is not a checkpoint .*mkdir") as caught:
        train(tmp_path)
    assert "weights_only" not in str(caught.value) and not (tmp_path / "harmed").exists()


def test_an_objective_that_is_no_module_is_an_error(tmp_path):
    with pytest.raises(TypeError, match=r"objective is a list; expected an nn\.Module with forward\(batch\)"):
        train(tmp_path, objective=[0])  # type: ignore[arg-type]
