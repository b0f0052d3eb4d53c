"""Settings of a training; no torch is imported here, so that a configuration is read at once."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import ceil, floor
from typing import Literal

from reid_core.processes import Runtime

LR_RANGE = 100
"""Highest learning rate over that at the end of the cosine, where a `Training` names none."""


@dataclass
class Augmentation:
    """Of labelled training images; flips besides."""

    padding: int = 10
    """Pixels of zeros on each side of an image before it is cropped (Luo et al. 2019: 10 for 256x128)."""
    erasing: float = 0.5
    """Probability of random erasing, from 0 to 1 (Luo et al. 2019: 0.5)."""
    jitter: tuple[float, float, float, float] | None = None
    """Largest changes of brightness, contrast and saturation, as shares, and of hue, as a share of the colour
    circle; null for none."""


@dataclass(kw_only=True)
class Settings:
    """What a training does at each step, however long it is: `TrainConfig` and `Training` have these.

    Raises:
        ValueError: a number is out of its range.
    """

    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    """AdamW (DINO), Adam (Bag of Tricks: Luo et al., CVPRW 2019) or SGD (TransReID: He et al., ICCV 2021)."""
    lr: float = 3.5e-4
    """Highest learning rate, reached after the warm-up (Bag of Tricks with Adam: 3.5e-4; DINO: 5e-4)."""
    momentum: float = 0.9
    """Momentum of SGD, at least 0 and less than 1; Adam and AdamW do not use it."""
    nesterov: bool = False
    """Whether SGD's momentum is Nesterov's."""
    weight_decay: float = 0.04
    """Weight decay at the start, decoupled in AdamW, added to the gradient in Adam and SGD (DINO: 0.04)."""
    weight_decay_end: float | None = None
    """Weight decay at the end of its cosine (DINO: 0.4); null keeps it constant."""
    decay_vectors: bool = False
    """Whether norms, biases and other parameters with fewer than two axes have weight decay too (Bag of
    Tricks, TransReID); DINO's have none."""
    weight_decay_bias: float | None = None
    """Constant weight decay of biases (WEIGHT_DECAY_BIAS of Bag of Tricks and TransReID); null treats them as
    norms."""
    bias_lr_factor: float = 1.0
    """Factor of the learning rate of biases (BIAS_LR_FACTOR; TransReID: 2)."""
    head_lr_factor: float = 1.0
    """Factor of the learning rate of `heads` (TransReID's LARGE_FC_LR: 2; fast-reid's HEADS_LR_FACTOR)."""
    heads: tuple[str, ...] = ("classifier",)
    """Modules that `head_lr_factor` is meant for: one of these is a part of the parameter's dotted name."""
    warmup_start: float = 0.0
    """Share of `lr` at which the linear warm-up begins (WARMUP_FACTOR; CLIP-ReID: 0.1, TransReID: 0.01)."""
    milestone_factor: float = 0.1
    """Factor of the learning rate at each milestone (Bag of Tricks: 0.1)."""
    clip_grad: float | None = None
    """Largest norm of a gradient (DINO: 3.0); null does not clip."""
    clip_mode: Literal["global", "parameter"] = "global"
    """Whether `clip_grad` bounds the norm of the whole gradient (torch's clip_grad_norm_, which Lightning
    calls) or that of each parameter's gradient by itself (clip_gradients in DINO's and iBOT's utils.py)."""
    precision: str = "32-true"
    """Lightning's precision: 32-true, bf16-mixed, 16-mixed, bf16-true or 16-true; auto is bf16-mixed
    where the device multiplies bfloat16 matrices in hardware, else 32-true."""
    accumulate: int = 1
    """Batches whose gradients are summed up for one optimiser step."""

    def __post_init__(self) -> None:
        if self.accumulate < 1:
            raise ValueError(f"accumulate={self.accumulate}; it must be at least 1")
        for name, known in (("optimizer", ("adamw", "adam", "sgd")), ("clip_mode", ("global", "parameter"))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r}; expected one of {', '.join(known)}")
        if self.lr <= 0:
            raise ValueError(f"lr={self.lr}; expected a positive number")
        for name in ("weight_decay", "weight_decay_end", "weight_decay_bias", "clip_grad", "bias_lr_factor",
                     "head_lr_factor"):  # fmt: skip
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name}={getattr(self, name)}; it must not be negative")
        if not 0 <= self.momentum < 1 or (self.nesterov and self.momentum == 0):
            raise ValueError(
                f"momentum={self.momentum}, nesterov={self.nesterov}; expected 0 <= momentum < 1, and more "
                "than 0 for Nesterov's"
            )
        if not 0 <= self.warmup_start <= 1:
            raise ValueError(f"warmup_start={self.warmup_start}; expected 0 <= warmup_start <= 1")
        if not 0 < self.milestone_factor <= 1:
            raise ValueError(f"milestone_factor={self.milestone_factor}; expected 0 < milestone_factor <= 1")


@dataclass
class TrainConfig(Settings):
    """How to train, with all lengths in optimiser steps: what `fit` takes.

    Example:
        >>> TrainConfig(steps=1000, precision="bf16-mixed").warmup_steps
        100

    Raises:
        ValueError: a number is out of its range.
    """

    steps: int = 10_000
    """Optimiser steps of the whole training."""
    warmup_steps: int = 100
    """Steps in which the learning rate rises linearly to `lr`; fewer than `steps`."""
    min_lr: float = 1e-6
    """Learning rate at the end of the cosine."""
    milestones: tuple[int, ...] = ()
    """Steps from each of which on the rate is `milestone_factor` of what it was; none for the cosine."""
    cosine_start: int = 0
    """Step at which the cosine begins; the rate is `lr` between the warm-up and it (fast-reid's
    DELAY_EPOCHS)."""
    accelerator: str = "auto"
    """Lightning's accelerator: auto, cpu, gpu (or cuda), mps."""
    devices: int | str = 1
    """Devices on each machine, or auto."""
    num_nodes: int = 1
    """Number of machines."""
    strategy: str = "auto"
    """Lightning's strategy, such as auto, ddp, ddp_find_unused_parameters_true or fsdp."""
    workers: int = 0
    """Processes that load data on each rank; 0 loads in the training process."""
    checkpoint_every: int = 500
    """Optimiser steps between two checkpoints."""
    log_every: int = 20
    """Optimiser steps between two records of the metrics."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("steps", "checkpoint_every", "log_every"):
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
        if not 0 <= self.cosine_start < self.steps or (self.cosine_start and self.milestones):
            raise ValueError(
                f"cosine_start={self.cosine_start}, milestones={self.milestones}; expected 0 <= cosine_start "
                f"< steps={self.steps}, and no milestones beside it"
            )
        if not 0 <= self.min_lr <= self.lr:
            raise ValueError(f"lr={self.lr}, min_lr={self.min_lr}; expected 0 <= min_lr <= lr")


@dataclass
class Training(Settings):
    """How to train, with each length in epochs or in optimiser steps: what a recipe's configuration holds.

    An epoch is one pass over the pool. Steps are taken where both are given.

    Example:
        >>> training = Training(epochs=120, warmup_epochs=5, decay_epochs=(40, 70))
        >>> config = training.resolve(steps_per_epoch=100, runtime=Runtime())
        >>> config.steps, config.warmup_steps, config.milestones
        (12000, 500, (4000, 7000))
    """

    epochs: float = 120.0
    """Length in epochs, passes over the pool (Bag of Tricks and TransReID: 120)."""
    steps: int | None = None
    """Length in optimiser steps, in place of `epochs`."""
    warmup_epochs: float = 0.0
    """Linear warm-up in epochs (Bag of Tricks and DINO: 10; TransReID: 5); at most half the training."""
    warmup_steps: int | None = None
    """Linear warm-up in optimiser steps, in place of `warmup_epochs`."""
    decay_epochs: tuple[float, ...] = ()
    """Epochs at which the learning rate is multiplied by `milestone_factor` (Bag of Tricks: 40 and 70); none
    lets it fall in a cosine."""
    milestones: tuple[int, ...] = ()
    """The same in optimiser steps, in place of `decay_epochs`."""
    cosine_start_epochs: float = 0.0
    """Epoch at which the cosine begins; from the warm-up to it the learning rate is constant (fast-reid's
    DELAY_EPOCHS)."""
    cosine_start: int | None = None
    """The same in optimiser steps, in place of `cosine_start_epochs`."""
    min_lr: float | None = None
    """Learning rate at the end of the cosine (DINO: 1e-6); null for a hundredth of `lr`."""
    precision: str = "auto"
    """Lightning's precision: 32-true, bf16-mixed, 16-mixed, bf16-true or 16-true; auto is bf16-mixed
    where the hardware multiplies it, else 32-true."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("epochs", "warmup_epochs", "cosine_start_epochs"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}; it must not be negative")
        in_epochs = self.steps is None and self.cosine_start is None
        if in_epochs and 0 < self.cosine_start_epochs >= self.epochs:
            raise ValueError(
                f"cosine_start_epochs={self.cosine_start_epochs}; expected less than epochs={self.epochs}"
            )
        if self.decay_epochs and self.milestones:
            raise ValueError(
                f"decay_epochs={self.decay_epochs}, milestones={self.milestones}; give one of them"
            )

    def resolve(self, steps_per_epoch: int, runtime: Runtime) -> TrainConfig:
        """The settings of `fit`: the one place where epochs become optimiser steps.

        The length is rounded up; warm-up, milestones and the cosine's start to the nearest step, halves up.

        Args:
            steps_per_epoch: batches of one pass over the pool; `accumulate` of them make one optimiser step.
            runtime: what the training runs on.

        Returns:
            Settings with all lengths in steps.

        Raises:
            ValueError: a length is out of its range, such as a warm-up of more steps than the training has.
        """

        def nearest(epochs: float) -> int:
            return floor(epochs * steps_per_epoch / self.accumulate + 0.5)

        steps = self.steps
        if steps is None:
            steps = max(1, ceil(self.epochs * steps_per_epoch / self.accumulate))
        warmup = self.warmup_steps
        if warmup is None:
            warmup = min(nearest(self.warmup_epochs), steps // 2)
        cosine_start = self.cosine_start
        if cosine_start is None:
            cosine_start = nearest(self.cosine_start_epochs)
        return TrainConfig(
            **{field.name: getattr(self, field.name) for field in fields(Settings)},
            steps=steps,
            warmup_steps=warmup,
            min_lr=self.lr / LR_RANGE if self.min_lr is None else self.min_lr,
            milestones=self.milestones or tuple(max(1, nearest(epoch)) for epoch in self.decay_epochs),
            cosine_start=cosine_start,
            accelerator=runtime.accelerator,
            devices=runtime.devices,
            num_nodes=runtime.num_nodes,
            strategy=runtime.strategy,
            workers=runtime.workers,
            checkpoint_every=runtime.checkpoint_every,
            log_every=runtime.log_every,
        )


def dino_training(epochs: float = 100.0) -> Training:
    """DINO's AdamW and schedules (Caron et al., ICCV 2021): a configuration's default.

    Args:
        epochs: of the training (CION 4.1 and VILLS supplement 2: 100).

    Example:
        >>> dino_training().weight_decay_end
        0.4
    """
    return Training(
        epochs=epochs,
        warmup_epochs=10.0,
        lr=5e-4,
        min_lr=1e-6,
        weight_decay=0.04,
        weight_decay_end=0.4,
        clip_grad=3.0,
    )
