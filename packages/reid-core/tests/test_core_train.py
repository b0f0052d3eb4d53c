"""The training loop: resumes with the same bits, says what is wrong, reports what it does."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from reid_core.models.backbones import build_backbone
from reid_core.training.config import TrainConfig
from reid_core.training.loop import convolutions_overlap, fit
from reid_core.training.optimisers import parameter_groups
from reid_core.training.schedules import cosine, schedule

STEPS = 20


class Batches:
    """A sampler in the sense of fit: a pure function of the step, with a settable start."""

    def __init__(self, steps: int, size: int = 32, batch_size: int = 4) -> None:
        self.steps, self.size, self.batch_size, self.start = steps, size, batch_size, 0

    def __len__(self) -> int:
        return self.steps

    def __iter__(self):
        for step in range(self.start, self.steps):
            order = torch.randperm(self.size, generator=torch.Generator().manual_seed(step))
            yield order[: self.batch_size].tolist()


class Data:
    """32 random vectors with a label; some of them may be unreadable."""

    def __init__(self, unreadable: tuple[int, ...] = ()) -> None:
        self.x = torch.randn(32, 6, generator=torch.Generator().manual_seed(0))
        self.unreadable = unreadable

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict:
        missing = [f"images/{index}.jpg"] if index in self.unreadable else []
        return {"x": self.x[index], "y": index % 2, "unreadable": missing}


def collate(items: list[dict]) -> dict:
    return {
        "x": torch.stack([item["x"] for item in items]),
        "y": torch.tensor([item["y"] for item in items]),
        "unreadable": [path for item in items for path in item["unreadable"]],
    }


class Student(nn.Module):
    """All that makes resuming hard: dropout, batch norm, and an EMA teacher moved after each step."""

    def __init__(self, width: int = 8, stop_at: int | None = None, signal_at_9: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Sequential(
            nn.Linear(6, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.5), nn.Linear(width, 2)
        )
        self.teacher = nn.Linear(width, 2).requires_grad_(False)
        self.stop_at, self.signal, self.steps = stop_at, signal_at_9, []

    def forward(self, batch: dict) -> dict:
        logits = self.net(batch["x"])
        loss = nn.functional.cross_entropy(logits, batch["y"])
        return {"loss": loss, "confidence": logits.softmax(1).amax(1).mean()}

    def after_step(self, step: int) -> None:
        if step == 9 and self.signal is not None:
            os.kill(os.getpid(), self.signal)
        if step == self.stop_at:
            raise InterruptedError
        self.steps.append(step)
        for mine, its in zip(self.teacher.parameters(), self.net[-1].parameters(), strict=True):
            mine.lerp_(its, 0.1)


class Journal(list):
    def metrics(self, values: dict, step: int) -> None:
        self.append((step, values))


def settings(**changes) -> TrainConfig:
    defaults = dict(steps=STEPS, warmup_steps=3, lr=0.05, accelerator="cpu", checkpoint_every=4, log_every=5)
    return TrainConfig(**defaults | changes)


def train(
    folder: Path, objective: nn.Module | None = None, data: Data | None = None, logger=None, **changes
) -> Path:
    config = settings(**changes)
    batches = Batches(config.steps * config.accumulate)
    return fit(
        objective or Student(), data or Data(), batches, collate, config, folder, seed=3, logger=logger
    )


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def assert_same_bits(one: Path, other: Path) -> None:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.faults
def test_a_training_that_a_signal_ends_has_its_status_and_resumes_with_the_same_bits(tmp_path):
    names = ("SIGKILL", "SIGINT", "SIGTERM")
    command = [sys.executable, __file__, str(tmp_path), *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    # Of a process that a signal killed a shell reports 128 and its number: 130 for SIGINT.
    statuses = [-signal.SIGKILL, -signal.SIGINT, 128 + signal.SIGTERM]
    assert [int(status) for status in done.stdout.split()] == statuses, done.stderr
    whole = train(tmp_path / "whole")
    for name in names:
        assert {path.name for path in (tmp_path / name).iterdir()} == {"last.ckpt"}
        assert torch.load(tmp_path / name / "last.ckpt", weights_only=True)["step"] == 8
        resumed = Student()
        assert_same_bits(train(tmp_path / name, resumed), whole)
        assert resumed.steps == list(range(8, STEPS))


@pytest.mark.parametrize("changes", [{"accumulate": 2}, {"workers": 2}, {"clip_grad": 0.1}], ids=str)
@pytest.mark.faults
def test_interrupted_training_ends_with_the_same_bits(tmp_path, changes):
    with pytest.raises(InterruptedError):
        train(tmp_path / "broken", Student(stop_at=9), **changes)
    assert_same_bits(train(tmp_path / "broken", **changes), train(tmp_path / "whole", **changes))


def test_the_seed_decides_what_dropout_does(tmp_path):
    config = settings(steps=4, warmup_steps=0)
    finals = [fit(Student(), Data(), Batches(4), collate, config, tmp_path / str(i), seed=i) for i in (0, 1)]
    ours, theirs = map(weights, finals)
    assert not torch.equal(ours["net.0.weight"], theirs["net.0.weight"])


def test_finished_training_returns_at_once_and_restores_the_weights(tmp_path):
    final = train(tmp_path)
    again = Student(stop_at=0)
    assert train(tmp_path, again) == final
    assert again.steps == []
    assert all(torch.equal(value, weights(final)[name]) for name, value in again.state_dict().items())


def test_folder_holds_only_what_fit_promises(tmp_path):
    train(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"last.ckpt", "final.pt"}


def test_accumulating_gives_the_gradient_of_the_larger_batch(tmp_path):
    class Line(nn.Linear):
        def forward(self, batch):
            return {"loss": super().forward(batch["x"]).square().mean()}

    def final(name, size, **changes):
        torch.manual_seed(0)
        config = settings(steps=2, warmup_steps=0, **changes)
        order = [list(range(i, i + size)) for i in range(0, 16, size)]
        batches = type("Listed", (list,), {"start": 0})(order)
        return weights(fit(Line(6, 1), Data(), batches, collate, config, tmp_path / name))["weight"]

    torch.testing.assert_close(final("two", 4, accumulate=2), final("one", 8))


def test_metrics_are_means_with_schedule_and_speed(tmp_path):
    journal = Journal()
    train(tmp_path, logger=journal)
    assert [step for step, _ in journal] == [5, 10, 15, 20]
    step, values = journal[-1]
    assert set(values) == {"loss", "confidence", "lr", "weight_decay", "images_per_second", "unreadable"}
    assert (values["lr"], values["weight_decay"]) == schedule(settings(), STEPS - 1)
    assert 0.5 <= values["confidence"] <= 1
    assert values["images_per_second"] > 0


@pytest.mark.faults
def test_unreadable_images_are_warned_about_once_counted_and_listed(tmp_path):
    journal = Journal()
    with pytest.warns(UserWarning, match="cannot read") as caught:
        train(tmp_path, data=Data(unreadable=(3, 5)), logger=journal)
    assert sorted((tmp_path / "unreadable.txt").read_text().split()) == ["images/3.jpg", "images/5.jpg"]
    assert len([w for w in caught if "cannot read" in str(w.message)]) == 2
    assert journal[-1][1]["unreadable"] == 2


def test_loss_that_is_not_finite_stops_with_step_and_losses(tmp_path):
    class Diverges(Student):
        def forward(self, batch):
            losses = super().forward(batch)
            return losses | {"loss": losses["loss"] * (math.inf if len(self.steps) == 6 else 1)}

    with pytest.raises(FloatingPointError, match=r"step 6: loss=inf, confidence=0\.\d+; lower lr"):
        train(tmp_path, Diverges())
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["step"] == 4


def test_what_is_not_a_scalar_is_not_a_metric(tmp_path):
    class Talks(Student):
        def forward(self, batch):
            return super().forward(batch) | {"per_item": torch.zeros(4), "constant": 2.5}

    journal = Journal()
    train(tmp_path, Talks(), logger=journal)
    assert "per_item" not in journal[0][1]
    assert journal[0][1]["constant"] == 2.5


def test_objective_without_loss_is_an_error(tmp_path):
    class Silent(Student):
        def forward(self, batch):
            return {"id": super().forward(batch)["loss"]}

    with pytest.raises(ValueError, match=r"Silent returned \['id'\]; expected \"loss\""):
        train(tmp_path, Silent())


def test_checkpoint_of_another_architecture_is_named_with_its_differences(tmp_path):
    with pytest.raises(InterruptedError):
        train(tmp_path, Student(stop_at=9))
    with pytest.raises(
        ValueError, match=r"last\.ckpt holds another architecture .*net\.0\.weight \(8, 6\) instead"
    ):
        train(tmp_path, Student(width=9))
    other = Student()
    other.extra = nn.Linear(1, 1)
    with pytest.raises(ValueError, match=r"missing: extra\.weight, extra\.bias.*another folder"):
        train(tmp_path, other)


@pytest.mark.faults
def test_broken_checkpoint_is_named(tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"last\.ckpt is not a checkpoint"):
        train(tmp_path)


def test_shorter_training_in_the_same_folder_is_an_error(tmp_path):
    train(tmp_path)
    with pytest.raises(ValueError, match="step 20, beyond steps=10"):
        train(tmp_path, steps=10)


def test_too_few_batches_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"batches has 20, .*need 40"):
        fit(Student(), Data(), Batches(20), collate, settings(accumulate=2), tmp_path)


@pytest.mark.parametrize(
    "changes", [{"steps": 0}, {"warmup_steps": 20}, {"min_lr": 1.0}, {"weight_decay": -1.0}]
)
def test_settings_out_of_range_are_errors(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        settings(**changes)


def test_nothing_is_printed_but_progress(tmp_path, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(tmp_path)
    out, err = capfd.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 10  # a line every tenth
    rate = r"[\d.e+]+"
    assert re.match(rf"{tmp_path.name}: 20/20 \(100%\), {rate}/s, 0 s left, loss ", lines[-1])


def test_the_rate_falls_to_a_tenth_at_each_milestone_after_the_warm_up():
    config = TrainConfig(steps=6, lr=1.0, warmup_steps=2, milestones=(3, 5))
    assert [schedule(config, step)[0] for step in range(6)] == pytest.approx([0.5, 1, 1, 0.1, 0.1, 0.01])
    with pytest.raises(ValueError, match="milestones"):
        TrainConfig(milestones=(5, 3))


def test_schedule_warms_up_linearly_and_ends_at_its_ends():
    config = TrainConfig(
        steps=100, warmup_steps=10, lr=1.0, min_lr=0.1, weight_decay=0.04, weight_decay_end=0.4
    )
    rates, decays = zip(*(schedule(config, step) for step in range(100)), strict=True)
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert max(rates) == rates[10] == 1.0
    assert rates[-1] == pytest.approx(0.1)
    assert list(rates[10:]) == sorted(rates[10:], reverse=True)
    assert (decays[0], decays[-1]) == pytest.approx((0.04, 0.4))
    assert cosine(0.0, 1.0, 0.25) == pytest.approx((1 - math.cos(math.pi / 4)) / 2)


def test_vectors_have_no_weight_decay_and_frozen_parameters_no_group():
    groups = parameter_groups(Student())
    assert [(g["decays"], sorted({p.ndim for p in g["params"]})) for g in groups] == [
        (True, [2]),
        (False, [1]),
    ]
    assert sum(len(g["params"]) for g in groups) == 6


def test_an_objective_may_scale_learning_rates(tmp_path):
    class Halves(Student):
        def parameter_groups(self):
            return [
                {"params": self.net[0].parameters(), "lr_multiplier": 0.0},
                {"params": self.net[1:].parameters()},
            ]

    before = {name: value.clone() for name, value in Halves().state_dict().items()}
    after = weights(train(tmp_path, Halves(), steps=5))
    assert torch.equal(after["net.0.weight"], before["net.0.weight"])
    assert not torch.equal(after["net.4.weight"], before["net.4.weight"])


def test_nothing_to_train_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no trainable parameter"):
        train(tmp_path, Student().requires_grad_(False))


if __name__ == "__main__":  # trainings that end themselves, each in a process of its own
    for name in sys.argv[2:]:
        child = os.fork()
        if child == 0:
            train(Path(sys.argv[1]) / name, Student(signal_at_9=getattr(signal, name)))
            sys.exit("fit returned")
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


@pytest.mark.parametrize(
    "name, overlaps", [("resnet18_ibn", True), ("vit_nano_patch8", False), ("vit_nano_conv8", True)]
)
def test_networks_whose_convolutions_overlap_are_told_from_those_that_cut_patches(name, overlaps):
    assert convolutions_overlap(build_backbone(name, (64, 32))) == overlaps
