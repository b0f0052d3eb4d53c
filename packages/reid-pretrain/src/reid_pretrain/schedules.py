"""Schedules as pure functions of the step."""

from __future__ import annotations

import math


def cosine(start: float, end: float, step: int, steps: int) -> float:
    """Half a cosine from `start` at step 0 to `end` at the last step, constant after it.

    DINO (Caron et al., 2021) uses it for the teacher's momentum, 0.996 -> 1.

    Example:
        >>> cosine(0.996, 1.0, 0, 100), cosine(0.996, 1.0, 100, 100)
        (0.996, 1.0)
    """
    progress = min(step / max(steps, 1), 1.0)
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
