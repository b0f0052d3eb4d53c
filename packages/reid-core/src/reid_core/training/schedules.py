"""Learning rate and weight decay of a training at each step."""

from __future__ import annotations

import math

from reid_core.training.config import TrainConfig


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

    The rate is `lr (start + (1 - start) (step + 1) / warmup_steps)` in the warm-up, `start` being the share
    `warmup_start`. After it:

    - a cosine to `min_lr` (DINO: Caron et al., ICCV 2021, section 4);
    - with `cosine_start`, constant until that step and then the cosine (fast-reid's WarmupCosineAnnealingLR:
      He et al., arXiv:2006.02631);
    - with `milestones`, `lr milestone_factor^k` after k of them (Bag of Tricks: Luo et al., CVPRW 2019).

    Weight decay is a cosine over the whole training (DINO).

    Args:
        config: the training's settings.
        step: optimiser step, from 0.

    Returns:
        (learning rate, weight decay).

    Example:
        >>> schedule(TrainConfig(steps=10, warmup_steps=2, lr=1.0, weight_decay=0.1), 0)
        (0.5, 0.1)
        >>> steps = TrainConfig(steps=10, warmup_steps=2, lr=1.0, milestones=(5,), milestone_factor=0.25)
        >>> [schedule(steps, step)[0] for step in (2, 4, 5)]
        [1.0, 1.0, 0.25]
    """
    end = config.weight_decay if config.weight_decay_end is None else config.weight_decay_end
    decay = cosine(config.weight_decay, end, step / max(1, config.steps - 1))
    if step < config.warmup_steps:
        share = config.warmup_start + (1 - config.warmup_start) * (step + 1) / config.warmup_steps
        return config.lr * share, decay
    if config.milestones:
        passed = sum(step >= milestone for milestone in config.milestones)
        return config.lr * config.milestone_factor**passed, decay
    first = max(config.warmup_steps, config.cosine_start)
    done = max(0, step - first) / max(1, config.steps - 1 - first)
    return cosine(config.lr, config.min_lr, min(1.0, done)), decay
