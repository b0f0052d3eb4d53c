"""What recipes refuse before any work, whatever the paper."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from reid_core.processes import Machine, ranks


def check_files(files: Mapping[str, str | None]) -> None:
    """Refuse files that aren't there.

    Args:
        files: option -> path; None where none is named.

    Raises:
        FileNotFoundError: there is no such file.

    Example:
        >>> check_files({"model.weights": "none.pth", "data.features": None})
        Traceback (most recent call last):
        FileNotFoundError: model.weights: there is no file none.pth
    """
    for name, path in files.items():
        if path is not None and not Path(path).is_file():
            raise FileNotFoundError(f"{name}: there is no file {path}")


def check_batches(machine: Machine, batches: Mapping[str, int]) -> None:
    """Refuse a number of processes that does not divide a batch.

    Args:
        machine: what it runs on.
        batches: option -> what is divided over the processes.

    Raises:
        ValueError: such a batch.

    Example:
        >>> check_batches(Machine(devices=2), {"pretrain.image_batch": 127})
        Traceback (most recent call last):
        ValueError: pretrain.image_batch=127 can't be divided over 2 processes: give a multiple of 2
    """
    world = ranks(machine)[1]
    for name, number in batches.items():
        if number % world:
            raise ValueError(
                f"{name}={number} can't be divided over {world} processes: give a multiple of {world}"
            )
