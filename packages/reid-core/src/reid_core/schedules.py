"""A training's settings, learning rate and weight decay at each step, and AdamW's parameter groups."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import nn

DROP = 0.1
"""Factor of the learning rate at each milestone."""


@dataclass
class TrainConfig:
    """How to train.

    Example:
        >>> TrainConfig(steps=1000, precision="bf16-mixed").warmup_steps
        100

    Raises:
        ValueError: a number is out of its range.
    """

    steps: int = 10_000
    """Optimiser steps of the whole training."""
    lr: float = 3.5e-4
    """Highest learning rate, reached after the warm-up."""
    min_lr: float = 1e-6
    """Learning rate at the end of the cosine."""
    milestones: tuple[int, ...] = ()
    """Steps from each of which on the rate is a tenth of what it was before; none for the cosine."""
    warmup_steps: int = 100
    """Steps in which the learning rate rises linearly to `lr`; fewer than `steps`."""
    weight_decay: float = 0.04
    """AdamW's decoupled weight decay at the start; parameters with fewer than two axes have none."""
    weight_decay_end: float | None = None
    """Weight decay at the end of its cosine; None keeps it constant."""
    clip_grad: float | None = None
    """Largest norm of the whole gradient; None does not clip."""
    precision: str = "32-true"
    """Lightning's precision: 32-true, bf16-mixed, 16-mixed, ...; "auto" is bf16-mixed where the device
    multiplies bfloat16 matrices in hardware, else 32-true."""
    accelerator: str = "auto"
    """Lightning's accelerator: auto, cpu, gpu, mps, ..."""
    devices: int | str = 1
    """Devices on each machine, or auto."""
    num_nodes: int = 1
    """Machines."""
    strategy: str = "auto"
    """Lightning's strategy: auto, ddp, ddp_find_unused_parameters_true, fsdp, ..."""
    accumulate: int = 1
    """Batches whose gradients are summed up for one optimiser step."""
    checkpoint_every: int = 500
    """Optimiser steps between two checkpoints."""
    log_every: int = 20
    """Optimiser steps between two records of the metrics."""
    workers: int = 0
    """Processes that load data on each rank; 0 loads in the training process."""

    def __post_init__(self) -> None:
        for name in ("steps", "accumulate", "checkpoint_every", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; it must be at least 1")
        if not 0 <= self.warmup_steps < self.steps:
            raise ValueError(
                f"warmup_steps={self.warmup_steps}; it must be at least 0 and less than steps={self.steps}"
            )
        if list(self.milestones) != sorted(set(self.milestones)) or min(self.milestones, default=1) < 1:
            raise ValueError(
                f"milestones={self.milestones}; they must be positive steps, each after the last"
            )
        if self.lr <= 0 or not 0 <= self.min_lr <= self.lr:
            raise ValueError(f"lr={self.lr}, min_lr={self.min_lr}; expected 0 <= min_lr <= lr and 0 < lr")
        if self.weight_decay < 0 or (self.weight_decay_end or 0) < 0 or (self.clip_grad or 0) < 0:
            raise ValueError("weight_decay, weight_decay_end and clip_grad must not be negative")


def cosine(start: float, end: float, done: float) -> float:
    """Half a cosine from start to end: `end + (start - end) (1 + cos(pi done)) / 2`.

    Args:
        start: value at done = 0.
        end: value at done = 1.
        done: part of the way, in 0..1.

    Returns:
        The value on the way.

    Example:
        >>> cosine(1.0, 0.0, 0.5)
        0.5
    """
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


def schedule(config: TrainConfig, step: int) -> tuple[float, float]:
    """Learning rate and weight decay of a step.

    The rate is `lr (step + 1) / warmup_steps` in the warm-up, then a cosine to `min_lr`, or with `milestones`
    constant between them; weight decay is a cosine over the whole training (DINO, Caron et al., ICCV 2021,
    section 4).

    Args:
        config: the training's settings.
        step: optimiser step, from 0.

    Returns:
        (learning rate, weight decay).

    Example:
        >>> schedule(TrainConfig(steps=10, warmup_steps=2, lr=1.0, weight_decay=0.1), 0)
        (0.5, 0.1)
    """
    end = config.weight_decay if config.weight_decay_end is None else config.weight_decay_end
    decay = cosine(config.weight_decay, end, step / max(1, config.steps - 1))
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps, decay
    if config.milestones:
        return config.lr * DROP ** sum(step >= milestone for milestone in config.milestones), decay
    after = max(1, config.steps - 1 - config.warmup_steps)
    return cosine(config.lr, config.min_lr, min(1.0, (step - config.warmup_steps) / after)), decay


def parameter_groups(objective: nn.Module) -> list[dict[str, Any]]:
    """AdamW's parameter groups: matrices with weight decay, vectors and scalars (norms, biases) without.

    An objective may have a method `parameter_groups()` that returns a list of
    `{"params": [...], "lr_multiplier": float}`; each is split in the same way.

    Args:
        objective: module whose trainable parameters are to be optimised.

    Returns:
        Groups with "params", "lr_multiplier" and "decays" (bool).

    Raises:
        ValueError: nothing is trainable.

    Example:
        >>> [(len(g["params"]), g["decays"]) for g in parameter_groups(nn.Linear(2, 3))]
        [(1, True), (1, False)]
    """
    make = getattr(objective, "parameter_groups", None)
    given: list[dict[str, Any]] = make() if make is not None else [{"params": objective.parameters()}]
    groups = []
    for group in given:
        trainable = [p for p in group["params"] if p.requires_grad]
        for decays in (True, False):
            chosen = [p for p in trainable if (p.ndim >= 2) == decays]
            if chosen:
                multiplier = float(group.get("lr_multiplier", 1.0))
                groups.append({"params": chosen, "lr_multiplier": multiplier, "decays": decays})
    if not groups:
        raise ValueError(f"{type(objective).__name__} has no trainable parameter; check requires_grad")
    return groups
