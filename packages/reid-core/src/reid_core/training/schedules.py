"""A training's settings, learning rate and weight decay at each step, and AdamW's parameter groups."""

from __future__ import annotations

import math

from reid_core.training.config import TrainConfig

DROP = 0.1
"""Factor of the learning rate at each milestone."""


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
