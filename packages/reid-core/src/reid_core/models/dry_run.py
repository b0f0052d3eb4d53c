"""Whether a model takes its inputs, on shapes alone: on the meta device no weight is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn


def check_inputs(name: str, build: Callable[[], nn.Module], shapes: Iterable[Sequence[int]]) -> None:
    """Build a model on the meta device and call it with inputs of some shapes.

    Args:
        name: of the model or the setting, for messages.
        build: makes the model.
        shapes: of its inputs, such as (1, 3, 256, 128).

    Raises:
        ValueError: it can't be built, or does not take an input.

    Example:
        >>> check_inputs("layer", lambda: nn.Linear(4, 2), [(1, 3)])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: layer does not take an input of shape (1, 3): ...
    """
    with torch.device("meta"), torch.inference_mode():
        try:
            model = build().eval()
        except (TypeError, RuntimeError, AssertionError) as error:
            raise ValueError(f"{name} can't be built: {_first_line(error)}") from error
        for shape in shapes:
            try:
                model(torch.empty(tuple(shape)))
            except (ValueError, RuntimeError, AssertionError) as error:
                said = _first_line(error)
                raise ValueError(f"{name} does not take an input of shape {tuple(shape)}: {said}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
