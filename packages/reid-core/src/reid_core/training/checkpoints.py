"""Checkpoints of the training loop: written whole or not at all, read without pickle, checked before use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from reid_core.files import atomic


def write_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint to a temporary name, then rename it.

    Args:
        state: "state_dict", "step" and whatever else is to be kept; tensors and plain values alone.
        path: the file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_checkpoint({"state_dict": {}, "step": 3}, Path(folder, "last.ckpt"))
        ...     read_checkpoint(Path(folder, "last.ckpt"))["step"]
        3
    """
    with atomic(path) as temporary:
        torch.save(state, temporary)


def read_checkpoint(path: Path, mmap: bool = False) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Args:
        path: the file.
        mmap: leave tensors on disk until they are used.

    Returns:
        What was written, with at least "state_dict" and "step".

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is something else, or damaged.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        state["state_dict"], state["step"]
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(
            f"{path} is not a checkpoint of this training loop ({error}); move it away to begin anew"
        ) from error
    return state


def load_checkpoint(path: Path, objective: nn.Module, steps: int) -> dict[str, Any]:
    """Load a checkpoint into an objective, or say why it does not fit.

    Args:
        path: the file.
        objective: module that takes over the weights.
        steps: optimiser steps of the whole training.

    Returns:
        What `read_checkpoint` returns.

    Raises:
        ValueError: the checkpoint is of another architecture, or beyond the training's last step.
    """
    state = read_checkpoint(path)
    if state["step"] > steps:
        raise ValueError(
            f"{path} is at step {state['step']}, beyond steps={steps}; "
            "use another folder for a shorter training"
        )
    theirs, ours = state["state_dict"], objective.state_dict()
    differences = {
        "missing": [name for name in ours if name not in theirs],
        "unexpected": [name for name in theirs if name not in ours],
        "of another shape": [
            f"{name} {_shape(theirs[name])} instead of {_shape(ours[name])}"
            for name in ours
            if name in theirs and _shape(theirs[name]) != _shape(ours[name])
        ],
    }
    if any(differences.values()):
        found = "; ".join(f"{kind}: {_some(names)}" for kind, names in differences.items() if names)
        raise ValueError(
            f"{path} holds another architecture than this {type(objective).__name__} ({found}); train it "
            "in another folder, move the file away to begin anew, or restore the settings it was trained with"
        )
    objective.load_state_dict(theirs)
    return state


def _shape(value: Any) -> tuple[int, ...] | None:
    return tuple(value.shape) if torch.is_tensor(value) else None


def _some(names: list[str], most: int = 5) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
