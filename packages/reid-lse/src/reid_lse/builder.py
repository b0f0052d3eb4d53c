"""What the tables of keypoint predictors and segmenters hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Builder(NamedTuple):
    """How a keypoint predictor or a segmenter is built by name.

    A distribution of one's own adds a name by an entry point of the group `reid_lse.keypoints` or
    `reid_lse.segmenters` that leads to a Builder.

    Attributes:
        options: a frozen dataclass whose fields all have defaults.
        build: from the name, the options and the device to the predictor or segmenter.
        fetch: from the name to the folder or file of its published weights, fetched once; None where there
            are none.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Options:
        ...     shift: float = 0.0
        >>> Builder(Options, lambda name, options, device: (name, options.shift)).build(
        ...     "a", Options(1.0), "cpu"
        ... )
        ('a', 1.0)
    """

    options: type
    build: Callable[[str, Any, str], Any]
    fetch: Callable[[str], Path] | None = None
