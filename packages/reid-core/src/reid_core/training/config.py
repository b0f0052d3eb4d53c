"""Settings of a training; no torch is imported here, so that a configuration is read at once."""

from __future__ import annotations

from dataclasses import dataclass


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
