"""Numbers that are not finite: seen without waiting at each step, named, and never in a checkpoint."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from reid_core import progress
from reid_core.data.samplers import RandomBatches
from reid_core.training.checkpoints import read_checkpoint, write_checkpoint
from reid_core.training.config import TrainConfig
from reid_core.training.finite import FiniteCheck, not_finite
from reid_core.training.loop import fit

pytestmark = pytest.mark.faults

STEPS = 8
READS = ("item", "tolist", "cpu", "numpy", "nonzero", "__bool__", "__float__", "__int__", "__index__")
"""Methods of a tensor that wait for the device."""
OWN = ("forward", "after_step", "spoil", "<lambda>")
"""Functions of an objective in this file."""


class Data:
    """Vectors of a file each; the fifth can't be read."""

    def __getitem__(self, draw) -> dict:
        x = torch.randn(4, generator=torch.Generator().manual_seed(draw.index))
        return {
            "x": x,
            "path": f"{draw.index}.jpg",
            "unreadable": ["5.jpg"] if draw.index == 5 else [],
        }


def collate(items: list[dict]) -> dict:
    return {
        "x": torch.stack([item["x"] for item in items]),
        "path": [item["path"] for item in items],
        "unreadable": [path for item in items for path in item["unreadable"]],
    }


class SpoiltGradient(torch.autograd.Function):
    """A number whose gradient is another than 1."""

    @staticmethod
    def forward(ctx, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None


class Line(nn.Module):
    """A layer with a teacher; `spoil` may change the loss of a step, `spoil_after` anything after it."""

    def __init__(self, spoil: Callable | None = None, spoil_after: Callable | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.teacher = nn.Linear(4, 1), nn.Linear(4, 1).requires_grad_(False)
        self.register_buffer("mask", torch.tensor([0.0, -math.inf]))
        self.spoil, self.spoil_after, self.step = spoil, spoil_after, 0

    def forward(self, batch: dict) -> dict:
        loss = self.layer(batch["x"]).square().mean()
        if self.spoil is not None:
            loss = self.spoil(self.step, loss)
        return {"loss": loss, "constant": 2.5}

    def after_step(self, step: int) -> None:
        self.step = step + 1
        if self.spoil_after is not None:
            self.spoil_after(step, self)


def train(folder: Path, objective: nn.Module, **changes) -> Path:
    defaults = dict(steps=STEPS, warmup_steps=0, accelerator="cpu", checkpoint_every=3, log_every=100)
    config = TrainConfig(**defaults | changes)
    batches = RandomBatches(16, 4, config.steps * config.accumulate)
    return fit(objective, Data(), batches, collate, config, folder)


def gradient_at(step: int, factor: float) -> Callable:
    return lambda now, loss: SpoiltGradient.apply(loss, factor) if now == step else loss


def assert_last_good(folder: Path, step: int) -> None:
    state = read_checkpoint(folder / "last.ckpt")
    assert state["step"] == step
    values = [*state["state_dict"].values(), *state["optimizer"]["state"][0].values()]
    assert not any(torch.as_tensor(value).isnan().any() for value in values)
    assert not (folder / "final.pt").exists()


@pytest.mark.filterwarnings("ignore:cannot read")
@pytest.mark.parametrize(
    "changes",
    [{}, {"clip_grad": 1.0}, {"clip_grad": 1.0, "clip_mode": "parameter"}, {"optimizer": "sgd"}],
    ids=str,
)
def test_a_gradient_of_the_last_step_that_is_not_finite_ends_in_no_final_weights(tmp_path, changes):
    with pytest.raises(
        FloatingPointError, match=rf"the gradient is not finite at step {STEPS - 1}: loss=0\.\d+"
    ):
        train(tmp_path, Line(gradient_at(STEPS - 1, math.nan)), **changes)
    assert_last_good(tmp_path, 6)


@pytest.mark.filterwarnings("ignore:cannot read")
def test_the_first_bad_step_is_named_with_its_losses_range_items_and_files(tmp_path):
    def spoil(step, loss):
        return loss * math.inf if step == 4 else loss

    with pytest.raises(FloatingPointError) as raised:
        train(tmp_path, Line(spoil))
    message = str(raised.value)
    drawn = [draw.index for draw in RandomBatches(16, 4, STEPS).batch(4)]
    assert "the loss is not finite at step 4: loss=inf, constant=2.5; lower lr, set clip_grad" in message
    assert f"items {', '.join(map(str, drawn))} of the data set" in message
    assert f"path: {', '.join(f'{index}.jpg' for index in drawn)}" in message
    assert ("unreadable: 5.jpg" in message) == (5 in drawn)
    assert "steps 3 to 5 were checked together" in message
    assert f"{tmp_path / 'last.ckpt'} holds the last good checkpoint" in message
    assert_last_good(tmp_path, 3)


@pytest.mark.filterwarnings("ignore:cannot read")
def test_before_the_first_checkpoint_the_message_says_that_there_is_none(tmp_path):
    with pytest.raises(FloatingPointError, match="there is no checkpoint yet"):
        train(tmp_path, Line(lambda step, loss: loss * math.nan))
    assert not (tmp_path / "last.ckpt").exists()


@pytest.mark.filterwarnings("ignore:cannot read")
def test_a_batch_that_is_accumulated_is_named_by_its_own_items(tmp_path):
    numbers = iter(range(100))

    def spoil(step, loss):
        return loss * math.nan if next(numbers) == 5 else loss

    with pytest.raises(FloatingPointError, match="not finite at step 2") as raised:
        train(tmp_path, Line(spoil), accumulate=2)
    drawn = [draw.index for draw in RandomBatches(16, 4, 2 * STEPS).batch(5)]
    assert f"items {', '.join(map(str, drawn))} of the data set" in str(raised.value)


@pytest.mark.filterwarnings("ignore:cannot read")
def test_a_gradient_whose_square_overflows_is_an_error_where_clipping_would_drop_the_update(tmp_path):
    with pytest.raises(FloatingPointError, match="the gradient is not finite at step 1"):
        train(tmp_path, Line(gradient_at(1, 1e30)), clip_grad=1.0, optimizer="sgd")


@pytest.mark.filterwarnings("ignore:cannot read")
def test_weights_that_after_step_spoils_are_named_and_not_saved(tmp_path):
    def spoil(step, objective):
        if step == 4:
            objective.teacher.weight.fill_(math.nan)

    with pytest.raises(FloatingPointError, match=r"weights \(teacher\.weight\) are not finite"):
        train(tmp_path, Line(spoil_after=spoil))
    assert_last_good(tmp_path, 3)


@pytest.mark.filterwarnings("ignore:cannot read")
def test_a_checkpoint_that_is_not_finite_is_named(tmp_path):
    final = train(tmp_path, Line())
    state = read_checkpoint(final)
    state["state_dict"]["layer.bias"] *= math.nan
    write_checkpoint(state, final)
    with pytest.raises(ValueError, match=r"final\.pt holds weights that are not finite \(layer\.bias\)"):
        train(tmp_path, Line())


def test_a_buffer_may_hold_infinities_but_no_nan():
    objective = Line()
    assert not_finite(objective) == []
    objective.mask[0] = math.nan
    assert not_finite(objective) == ["mask"]


@given(
    losses=st.lists(st.floats(width=32), min_size=1, max_size=6),
    gradients=st.lists(st.floats(-1e10, 1e10, width=32) | st.just(math.nan), min_size=6, max_size=6),
)
def test_a_check_raises_exactly_if_something_was_not_finite_and_names_the_first(losses, gradients):
    layer = nn.Linear(1, 1, bias=False)
    check = FiniteCheck(layer, Path("last.ckpt"), lambda number: [number])
    for step, loss in enumerate(losses):
        check.add_batch(step, step, ["loss"], torch.tensor([loss]), {})
        layer.weight.grad = torch.tensor([[gradients[step]]])
        check.add_gradients(step, layer.parameters())
    pairs = list(zip(losses, gradients, strict=False))
    bad = [step for step, pair in enumerate(pairs) if not all(map(math.isfinite, pair))]
    if bad:
        what = "gradient" if math.isfinite(losses[bad[0]]) else "loss"
        with pytest.raises(FloatingPointError, match=f"the {what} is not finite at step {bad[0]}: "):
            check.read(len(losses))
    else:
        assert check.read(len(losses)) == 0


def test_a_gradient_of_any_parameter_is_looked_at():
    """Its update may be left out, so that the weights show nothing."""
    layer = nn.Linear(1, 1)
    check = FiniteCheck(layer, Path("last.ckpt"), lambda number: [])
    check.add_batch(0, 0, ["loss"], torch.ones(1), {})
    layer.weight.grad, layer.bias.grad = torch.ones(1, 1), torch.tensor([math.nan])
    check.add_gradients(0, layer.parameters())
    with pytest.raises(FloatingPointError, match="the gradient is not finite at step 0"):
        check.read(1)


def test_updates_that_a_gradient_scaler_leaves_out_are_counted():
    layer = nn.Linear(1, 1)
    check = FiniteCheck(layer, Path("last.ckpt"), lambda number: [])
    for step, gradient in enumerate((math.inf, 1.0, math.nan)):
        check.add_batch(step, step, ["loss"], torch.ones(1), {})
        layer.weight.grad = torch.tensor([[gradient]])
        check.add_gradients(step, layer.parameters())
    assert check.read(3, scaled=True) == 2


def test_another_process_may_have_met_it():
    check = FiniteCheck(nn.Linear(1, 1), Path("last.ckpt"), lambda number: [])
    check.add_batch(0, 0, ["loss"], torch.ones(1), {})
    with pytest.raises(
        FloatingPointError, match="in another process a loss, gradient or weight is not finite"
    ):
        check.read(1, any_process=lambda bad: True)


@contextmanager
def watch_reads(monkeypatch, seen: list):
    """Take note of who reads numbers off tensors; optimisers keep their step counts on the CPU."""

    def note(name: str) -> None:
        around = (__file__, "torch/_compile.py", "torch/_dynamo/eval_frame.py")  # and what torch wraps it in
        stack = traceback.extract_stack()
        frames = [f for f in stack if f.name in OWN or not f.filename.endswith(around)]
        if "torch/optim/" not in Path(frames[-1].filename).as_posix():
            seen.append((name, {frame.name for frame in frames}))

    def watched(name: str):
        method = getattr(Tensor, name)

        def call(self, *args, **kwargs):
            note(name)
            return method(self, *args, **kwargs)

        return call

    class Mode(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
                note(str(function))
            return function(*args, **(kwargs or {}))

    with monkeypatch.context() as patch, Mode():
        for name in READS:
            patch.setattr(Tensor, name, watched(name))
        yield


@pytest.mark.filterwarnings("ignore:cannot read")
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"clip_grad": 1.0},
        {"clip_grad": 1.0, "clip_mode": "parameter"},
        {"optimizer": "sgd", "accumulate": 2},
    ],
    ids=str,
)
def test_nothing_is_read_off_a_tensor_between_log_steps(tmp_path, monkeypatch, changes):
    monkeypatch.setattr(progress, "LINE_FRACTION", 2.0)
    steps_of_reads = []

    class Watched(Line):
        def after_step(self, step):
            super().after_step(step)
            steps_of_reads.append(len(seen))  # reads before this step's end

    seen: list = []
    with watch_reads(monkeypatch, seen):
        train(tmp_path, Watched(), steps=12, log_every=4, checkpoint_every=6, **changes)
    begun = [{"on_train_batch_end"} <= names for _, names in seen if "advance" in names]
    assert all(begun)  # none in forward, backward, clipping or the update
    reads = [after - before for before, after in zip(steps_of_reads, steps_of_reads[1:], strict=False)]
    assert [step for step, number in enumerate(reads, start=1) if number] == [4, 6, 8]


@pytest.mark.filterwarnings("ignore:cannot read")
def test_the_watch_sees_a_read(tmp_path, monkeypatch):
    seen: list = []
    with watch_reads(monkeypatch, seen):
        train(tmp_path, Line(lambda step, loss: loss if loss > -1 else -loss), steps=2, log_every=2)
    assert any("forward" in names for _, names in seen)
