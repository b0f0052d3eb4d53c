"""What a signal does in a training; `test_core_train.py` has the status of whole processes."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from reid_core.cli.recipes import run_guarded
from reid_core.data.samplers import RandomBatches
from reid_core.training.checkpoints import read_checkpoint
from reid_core.training.config import TrainConfig
from reid_core.training.interrupts import BROADCAST, Interrupts
from reid_core.training.loop import fit

pytestmark = pytest.mark.faults

STEPS, STOP = 10, 7


class Data:
    def __getitem__(self, draw) -> dict:
        return {"x": torch.randn(4, generator=torch.Generator().manual_seed(draw.index))}


class Line(nn.Module):
    """A layer that sends a signal to its own process in the middle of a step."""

    def __init__(self, number: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.number, self.step = nn.Linear(4, 1), number, 0

    def forward(self, batch: dict) -> dict:
        if self.number is not None and self.step == STOP:
            os.kill(os.getpid(), self.number)
        return {"loss": self.layer(batch["x"]).square().mean()}

    def after_step(self, step: int) -> None:
        self.step = step + 1


def train(folder: Path, number: int | None = None) -> Path:
    config = TrainConfig(steps=STEPS, warmup_steps=0, accelerator="cpu", checkpoint_every=3)
    return fit(Line(number), Data(), RandomBatches(16, 4, STEPS), None, config, folder)


def assert_interrupted(folder: Path) -> None:
    assert read_checkpoint(folder / "last.ckpt")["step"] == 6
    assert {path.name for path in folder.iterdir()} == {"last.ckpt"}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    "error", [RuntimeError("unexpected pos 64 vs 0"), SystemExit(1), ImportError("half")]
)
def test_an_error_in_a_signal_s_place_counts_as_the_signal(number, status, error, capsys):
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]

    def work():
        try:
            signal.raise_signal(number)
        finally:
            raise error

    assert run_guarded("toy", work) == status
    assert capsys.readouterr().err == "toy: stopped; the same command resumes\n"
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_sigint_is_a_keyboard_interrupt_and_sigterm_an_exit(tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "int", signal.SIGINT)
    with pytest.raises(SystemExit) as ended:
        train(tmp_path / "term", signal.SIGTERM)
    assert ended.value.code == 143
    for name in ("int", "term"):
        assert_interrupted(tmp_path / name)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_in_the_middle_of_a_checkpoint_comes_when_it_is_whole(number, error, tmp_path, monkeypatch):
    save, saves = torch.save, []

    def interrupted(state, file):
        saves.append(file)
        if len(saves) == 2:
            signal.raise_signal(number)
        save(state, file)

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(error):
        train(tmp_path)
    assert_interrupted(tmp_path)


def test_a_programs_own_handler_of_sigterm_is_called_instead(tmp_path):
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        train(tmp_path, signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]
    assert (tmp_path / "final.pt").exists()  # that program has decided to go on


def test_sigterm_stays_ignored_where_it_is(tmp_path):
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert train(tmp_path, signal.SIGTERM).exists()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_training_in_a_thread_leaves_signals_alone(tmp_path):
    thread = threading.Thread(target=train, args=(tmp_path,))
    thread.start()
    thread.join()
    assert (tmp_path / "final.pt").exists()


def test_lightnings_broadcast_at_each_step_is_left_out_and_its_children_are_told():
    told = []
    loop = SimpleNamespace(**{BROADCAST: lambda: told.append("broadcast")})
    launcher = SimpleNamespace(kill=lambda number: told.append(number))
    trainer = SimpleNamespace(
        fit_loop=SimpleNamespace(epoch_loop=loop), strategy=SimpleNamespace(launcher=launcher)
    )
    with pytest.raises(SystemExit), Interrupts() as interrupts:
        interrupts.on_train_start(trainer, nn.Module())
        getattr(loop, BROADCAST)()
        signal.raise_signal(signal.SIGTERM)
    assert told == [signal.SIGTERM]
