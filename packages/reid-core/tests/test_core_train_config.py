"""A training's settings: epochs become steps in one place, and numbers out of range are named."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid_core.processes import Runtime
from reid_core.training.config import Settings, TrainConfig, Training


def test_epochs_become_steps_of_accumulated_batches():
    training = Training(epochs=10, warmup_epochs=2, decay_epochs=(4, 7.5), accumulate=2)
    config = training.resolve(100, Runtime())
    assert (config.steps, config.warmup_steps, config.milestones) == (500, 100, (200, 375))
    training = Training(epochs=1.01, cosine_start_epochs=0.5, accumulate=2)
    config = training.resolve(101, Runtime())
    assert (config.steps, config.cosine_start) == (52, 25)  # up; to the nearest


def test_steps_are_taken_in_place_of_epochs():
    training = Training(
        epochs=10,
        steps=30,
        warmup_epochs=5,
        warmup_steps=3,
        milestones=(10, 20),
    )
    config = training.resolve(100, Runtime())
    assert (config.steps, config.warmup_steps, config.milestones) == (30, 3, (10, 20))
    assert Training(steps=9, cosine_start=4, cosine_start_epochs=3).resolve(100, Runtime()).cosine_start == 4


def test_a_warm_up_in_epochs_is_at_most_half_of_the_training():
    assert Training(steps=9, warmup_epochs=10).resolve(100, Runtime()).warmup_steps == 4


def test_the_cosine_ends_at_a_hundredth_where_no_end_is_given():
    assert Training(lr=0.5).resolve(1, Runtime()).min_lr == 0.005
    assert Training(lr=0.5, min_lr=0.25).resolve(1, Runtime()).min_lr == 0.25


@given(
    epochs=st.floats(0, 200),
    warmup=st.floats(0, 20),
    steps_per_epoch=st.integers(1, 5000),
    accumulate=st.integers(1, 8),
)
def test_resolving_keeps_every_other_setting(epochs, warmup, steps_per_epoch, accumulate):
    training = Training(
        epochs=epochs, warmup_epochs=warmup, accumulate=accumulate, optimizer="sgd", head_lr_factor=2.0
    )
    runtime = Runtime("cpu", 2, 3, strategy="ddp", workers=4, checkpoint_every=7, log_every=3)
    config = training.resolve(steps_per_epoch, runtime)
    assert config.steps == max(1, ceil(epochs * steps_per_epoch / accumulate))
    assert 0 <= config.warmup_steps <= config.steps // 2
    assert {field.name: getattr(config, field.name) for field in fields(Settings)} == {
        field.name: getattr(training, field.name) for field in fields(Settings)
    }
    on = (config.accelerator, config.devices, config.num_nodes, config.strategy, config.workers)
    assert on == ("cpu", 2, 3, "ddp", 4)
    assert (config.checkpoint_every, config.log_every) == (7, 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "lamb"},
        {"clip_mode": "value"},
        {"clip_grad": -1.0},
        {"momentum": 1.0},
        {"nesterov": True, "momentum": 0.0},
        {"milestone_factor": 0.0},
        {"warmup_start": 1.5},
        {"bias_lr_factor": -1.0},
        {"lr": 0.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [TrainConfig, Training])
def test_settings_out_of_range_are_named(kind, changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        kind(**changes)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (TrainConfig, {"cosine_start": 10_000}),
        (TrainConfig, {"cosine_start": 5, "milestones": (7,)}),
        (Training, {"epochs": -1.0}),
        (Training, {"cosine_start_epochs": 30.0, "epochs": 10.0}),
        (Training, {"decay_epochs": (1.0,), "milestones": (7,)}),
    ],
    ids=str,
)
def test_lengths_out_of_range_are_named(kind, changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        kind(**changes)


def test_settings_and_protocols_import_no_torch():
    code = (
        "import sys, reid_core.training.config, reid_core.training.protocols; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
