"""Optimisers, parameter groups, schedules and clipping against direct transcriptions of their sources."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from reid_core.data.samplers import RandomBatches
from reid_core.training.checkpoints import read_checkpoint
from reid_core.training.config import TrainConfig
from reid_core.training.loop import fit
from reid_core.training.optimisers import build_optimizer, clip_each, norms, parameter_groups
from reid_core.training.schedules import schedule


class Data:
    def __getitem__(self, draw) -> dict:
        return {"x": torch.randn(4, generator=torch.Generator().manual_seed(draw.index))}


class Net(nn.Module):
    """A backbone with a norm, and a classifier without a bias."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3))
        self.classifier = nn.Linear(3, 2, bias=False)

    def forward(self, batch: dict) -> dict:
        return {"loss": self.classifier(self.backbone(batch["x"])).square().sum()}


def settings(**changes) -> TrainConfig:
    defaults = dict(
        steps=6, warmup_steps=0, lr=0.05, weight_decay=0.01, accelerator="cpu", checkpoint_every=2
    )
    return TrainConfig(**defaults | changes)


def train(folder: Path, objective: nn.Module, config: TrainConfig) -> nn.Module:
    fit(objective, Data(), RandomBatches(16, 4, config.steps), None, config, folder)
    return objective


@pytest.mark.parametrize(
    ("changes", "kind", "options"),
    [
        ({}, torch.optim.AdamW, {}),
        ({"optimizer": "adam"}, torch.optim.Adam, {}),
        ({"optimizer": "sgd", "momentum": 0.8}, torch.optim.SGD, {"momentum": 0.8}),
        ({"optimizer": "sgd", "nesterov": True}, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    ],
    ids=["adamw", "adam", "sgd", "nesterov"],
)
def test_a_training_takes_the_steps_of_torchs_own_optimiser(tmp_path, changes, kind, options):
    config = settings(**changes)
    ours, theirs = train(tmp_path, Net(), config), Net()
    matrices = [p for p in theirs.parameters() if p.ndim == 2]
    vectors = [p for p in theirs.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = kind(groups, lr=1.0, **options)
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = schedule(config, step)[0]
        items = [Data()[draw]["x"] for draw in RandomBatches(16, 4, config.steps).batch(step)]
        optimizer.zero_grad()
        theirs({"x": torch.stack(items)})["loss"].backward()
        optimizer.step()
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_an_interrupted_training_of_any_optimiser_ends_with_the_same_bits(tmp_path, optimizer):
    class Stops(Net):
        def after_step(self, step: int) -> None:
            if step == 4:
                raise InterruptedError

    config = settings(optimizer=optimizer)
    with pytest.raises(InterruptedError):
        train(tmp_path / "broken", Stops(), config)
    resumed = train(tmp_path / "broken", Net(), config).state_dict()
    whole = train(tmp_path / "whole", Net(), config).state_dict()
    assert all(torch.equal(value, whole[name]) for name, value in resumed.items())


def test_a_checkpoint_of_another_optimiser_is_refused(tmp_path):
    train(tmp_path, Net(), settings())
    (tmp_path / "final.pt").unlink()
    with pytest.raises(ValueError, match=r"last\.ckpt was written with optimizer=adamw, not sgd"):
        train(tmp_path, Net(), settings(optimizer="sgd"))


def test_fused_kernels_take_the_same_steps():
    nets = Net(), Net()
    for net, fused in zip(nets, (False, True), strict=True):
        optimizer = build_optimizer(net, settings(), fused)
        for step in range(3):
            optimizer.zero_grad()
            net({"x": torch.full((2, 4), step + 1.0)})["loss"].backward()
            optimizer.step()
    for one, other in zip(*(net.parameters() for net in nets), strict=True):
        torch.testing.assert_close(one, other)


def groups_by_name(objective: nn.Module, config: TrainConfig) -> dict[str, tuple[float, bool, float]]:
    names = {id(parameter): name for name, parameter in objective.named_parameters()}
    return {
        names[id(parameter)]: (group["lr_multiplier"], group["decays"], group["constant_decay"])
        for group in parameter_groups(objective, config)
        for parameter in group["params"]
    }


def test_biases_and_heads_have_their_own_factors_as_in_transreid():
    config = settings(bias_lr_factor=2.0, weight_decay_bias=1e-4, head_lr_factor=3.0, decay_vectors=True)
    assert groups_by_name(Net(), config) == {
        "backbone.0.weight": (1.0, True, 0.0),
        "backbone.0.bias": (2.0, False, 1e-4),
        "backbone.1.weight": (1.0, True, 0.0),
        "backbone.1.bias": (2.0, False, 1e-4),
        "classifier.weight": (3.0, True, 0.0),
    }


def test_factors_multiply_those_of_the_objectives_own_groups():
    class Halves(Net):
        def parameter_groups(self):
            return [
                {"params": self.backbone.parameters(), "lr_multiplier": 0.5},
                {"params": self.classifier.parameters()},
            ]

    found = groups_by_name(Halves(), settings(bias_lr_factor=2.0, head_lr_factor=3.0))
    assert [found[name][0] for name in ("backbone.0.weight", "backbone.0.bias", "classifier.weight")] == [
        0.5,
        1.0,
        3.0,
    ]


def test_heads_that_are_not_there_are_an_error():
    with pytest.raises(ValueError, match=r"head_lr_factor=2\.0, but Net has no module named .*\['arcface'\]"):
        parameter_groups(Net(), settings(head_lr_factor=2.0, heads=("arcface",)))


def test_each_group_has_the_schedules_rate_and_decay_times_its_own(tmp_path):
    config = settings(bias_lr_factor=2.0, weight_decay_bias=1e-4, weight_decay_end=0.1)
    train(tmp_path, Net(), config)
    groups = read_checkpoint(tmp_path / "last.ckpt")["optimizer"]["param_groups"]
    rate, decay = schedule(config, config.steps - 1)
    assert decay == pytest.approx(0.1)
    found = {(group["lr"], group["weight_decay"]) for group in groups}
    assert found == {(rate, decay), (rate, 0.0), (2 * rate, 1e-4)}


@given(st.lists(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=4), min_size=1, max_size=4))
def test_clipping_each_parameter_is_what_dinos_code_does(gradients):
    ours = [nn.Parameter(torch.zeros(len(gradient))) for gradient in gradients]
    for parameter, gradient in zip(ours, gradients, strict=True):
        parameter.grad = torch.tensor(gradient)
    frozen = nn.Parameter(torch.zeros(1))
    clip_each([*ours, frozen], 3.0)
    for parameter, gradient in zip(ours, gradients, strict=True):
        expected = torch.tensor(gradient)
        factor = 3.0 / (expected.norm(2) + 1e-6)
        torch.testing.assert_close(parameter.grad, expected * factor if factor < 1 else expected)
    assert frozen.grad is None


def test_clipping_the_whole_gradient_and_each_parameter_are_told_apart(tmp_path):
    """With SGD at a learning rate of 1 the first step is the clipped gradient."""
    before = dict(Net().named_parameters())
    moved = {}
    for mode in ("global", "parameter"):
        config = settings(
            optimizer="sgd",
            lr=1.0,
            min_lr=1.0,
            momentum=0.0,
            weight_decay=0.0,
            clip_grad=0.1,
            clip_mode=mode,
            steps=1,
        )
        after = dict(train(tmp_path / mode, Net(), config).named_parameters())
        moved[mode] = torch.stack([(after[name] - before[name]).detach().norm() for name in before])
    assert float(moved["global"].norm()) == pytest.approx(0.1, rel=1e-4)
    assert moved["parameter"].tolist() == pytest.approx([0.1] * len(before), rel=1e-4)


def test_clipping_each_parameter_is_refused_where_parameters_are_spread_out(tmp_path):
    config = settings(clip_grad=1.0, clip_mode="parameter", strategy="fsdp")
    with pytest.raises(ValueError, match="clip_mode=parameter with strategy=fsdp"):
        train(tmp_path, Net(), config)


def test_norms_are_those_of_each_tensor():
    tensors = [torch.randn(3, 2), torch.randn(5).half(), torch.zeros(0)]
    expected = torch.stack([tensor.float().norm() for tensor in tensors])
    torch.testing.assert_close(norms(tensors), expected)
    assert math.isnan(norms([torch.tensor([1.0, math.nan])]))


def test_the_rate_is_constant_before_the_cosine():
    config = TrainConfig(steps=21, lr=1.0, min_lr=0.0, warmup_steps=2, cosine_start=10)
    rates = [schedule(config, step)[0] for step in range(21)]
    assert rates[:2] == [0.5, 1.0]
    assert rates[2:11] == [1.0] * 9
    assert rates[15] == pytest.approx(0.5)
    assert rates[20] == pytest.approx(0.0)


def test_a_milestones_factor_can_be_chosen():
    config = TrainConfig(steps=4, lr=1.0, warmup_steps=0, milestones=(1, 3), milestone_factor=0.5)
    assert [schedule(config, step)[0] for step in range(4)] == [1.0, 0.5, 0.5, 0.25]


def test_a_warm_up_may_begin_at_a_share_of_the_rate():
    config = TrainConfig(steps=100, warmup_steps=10, lr=1.0, warmup_start=0.1)
    rates = [schedule(config, step)[0] for step in range(11)]
    assert rates == pytest.approx([0.1 + 0.09 * (step + 1) for step in range(10)] + [1.0])
