"""Checkpoints of the training loop: written whole or not at all, read without pickle, checked before use."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from reid_core.files import atomic
from reid_core.models.checkpoint_files import describe_error, refuse_long_names
from reid_core.training.finite import list_some, not_finite

LAST = "last.ckpt"
"""The last checkpoint of a training: weights, the optimiser's state, the step and the digest."""
FINAL = "final.pt"
"""What a training ended with: weights, the step and the digest."""


def write_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint, whole or not at all; the same state gives the same bytes.

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
    with hold_signals(), atomic(path) as temporary, open(temporary, "wb") as file:
        torch.save(state, file)  # given a name, torch writes that too


@contextlib.contextmanager
def hold_signals() -> Iterator[None]:
    """Let SIGINT and SIGTERM come behind the block, where the program has handlers for them.

    torch's writer can't be left in the middle: a handler that raises in one of its calls ends the process
    (std::terminate) or becomes a RuntimeError of the writer's own.

    Example:
        >>> with contextlib.suppress(KeyboardInterrupt), hold_signals():
        ...     signal.raise_signal(signal.SIGINT)
        ...     print("whole")
        whole
    """
    came: list[int] = []
    handled = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handled = {number: handler for number, handler in handled.items() if callable(handler)}
    if threading.current_thread() is not threading.main_thread():
        handled = {}
    try:
        for number in handled:
            signal.signal(number, lambda number, _: came.append(number))
        yield
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)
        for first in came[:1]:
            signal.raise_signal(first)


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
        refuse_long_names(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        state["state_dict"], state["step"]
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(
            f"{path} is not a checkpoint of this training loop ({describe_error(error)}); move it away to "
            "begin anew"
        ) from error
    return state


def load_checkpoint(path: Path, objective: nn.Module, steps: int, digest: str = "") -> dict[str, Any]:
    """Load a checkpoint into an objective, or say why it does not fit.

    Args:
        path: the file.
        objective: module that takes over the weights.
        steps: optimiser steps of the whole training.
        digest: of all that the training's result depends on. A checkpoint without one is taken for this
            training's.

    Returns:
        What `read_checkpoint` returns.

    Raises:
        ValueError: the checkpoint was made under another digest, is of another architecture, is beyond the
            training's last step, or holds weights that are not finite.
    """
    state = read_checkpoint(path)
    check_digest(path, state, digest)
    if state["step"] > steps:
        raise ValueError(
            f"{path} is at step {state['step']}, beyond steps={steps}; "
            "use another folder for a shorter training"
        )
    load_state(path, state, objective)
    return state


def load_state(path: Path, state: Mapping[str, Any], module: nn.Module) -> None:
    """Load a checkpoint's weights into a module, or say why they don't fit.

    Args:
        path: the checkpoint's file, for messages.
        state: its content, as `read_checkpoint` returns it.
        module: that takes over the weights.

    Raises:
        ValueError: the weights are of another architecture, or not finite.
    """
    weights, ours = state["state_dict"], module.state_dict()
    differences = {
        "missing": [name for name in ours if name not in weights],
        "unexpected": [name for name in weights if name not in ours],
        "of another shape": [
            f"{name} {_shape(weights[name])} instead of {_shape(ours[name])}"
            for name in ours
            if name in weights and _shape(weights[name]) != _shape(ours[name])
        ],
    }
    if any(differences.values()):
        found = "; ".join(f"{kind}: {list_some(names)}" for kind, names in differences.items() if names)
        raise ValueError(
            f"{path} holds another architecture than this {type(module).__name__} ({found}); train it "
            "in another folder, move the file away to begin anew, or restore the settings it was trained with"
        )
    module.load_state_dict(weights)
    if bad := not_finite(module):
        raise ValueError(
            f"{path} holds weights that are not finite ({list_some(bad)}), so nothing can go on from "
            "it; move the file away to begin anew"
        )


def check_digest(path: Path, state: Mapping[str, Any], digest: str) -> None:
    """Refuse a checkpoint that was made under another digest.

    Args:
        path: the checkpoint's file, for the message.
        state: its content; one without a digest passes.
        digest: of all that this training's result depends on.

    Raises:
        ValueError: the digests differ.

    Example:
        >>> check_digest(Path("last.ckpt"), {"digest": "a1"}, "b2")
        Traceback (most recent call last):
        ValueError: last.ckpt was made under digest 'a1', not 'b2'; use another folder, or its own settings
    """
    if (theirs := state.get("digest", "")) not in ("", digest):
        raise ValueError(
            f"{path} was made under digest {theirs!r}, not {digest!r}; use another folder, or its "
            "own settings"
        )


def _shape(value: Any) -> tuple[int, ...] | None:
    return tuple(value.shape) if torch.is_tensor(value) else None
