"""What a training reports: means of the losses, images a second, and files that could not be read."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


class Means:
    """Means of scalars, and images a second, since the last look; added up without waiting for the device.

    Example:
        >>> means = Means()
        >>> for loss in (1.0, 2.0):
        ...     means.add({"loss": torch.tensor(loss), "per_item": torch.zeros(4)}, images=8)
        >>> means.names, means.take()["loss"]
        (['loss'], 1.5)
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.values = self.total = torch.zeros(0)
        self.batches = self.images = 0
        self.began = time.monotonic()

    def add(self, losses: Mapping[str, Any], images: int) -> None:
        """Add a batch.

        Args:
            losses: name -> tensor or number, "loss" among them; what isn't a scalar is left out.
            images: of the batch.
        """
        device = losses["loss"].device
        scalars = {name: _scalar(value, device) for name, value in losses.items()}
        names = [name for name, value in scalars.items() if value is not None]
        values = torch.stack([scalars[name] for name in names])  # type: ignore[misc]
        if self.batches == 0 or names != self.names:
            self.names, self.total, self.batches = names, torch.zeros_like(values), 0
        self.values = values
        self.total += values
        self.batches += 1
        self.images += images

    def last(self) -> float:
        """The last batch's loss; waits for the device."""
        return float(self.values[self.names.index("loss")])

    def take(self) -> dict[str, float]:
        """The means and "images_per_second" since the last call; waits for the device."""
        means = (self.total / max(1, self.batches)).tolist()
        now = time.monotonic()
        metrics = dict(zip(self.names, means, strict=True))
        metrics["images_per_second"] = self.images / max(1e-9, now - self.began)
        self.batches = self.images = 0
        self.began = now
        return metrics


def _scalar(value: Any, device: torch.device) -> Tensor | None:
    """A number or a tensor of one element as a float32 scalar on a device, made without waiting for it."""
    if not torch.is_tensor(value):
        return torch.full((), float(value), device=device)
    if value.numel() != 1:
        return None
    return value.detach().to(device, torch.float32, non_blocking=True).reshape(())


class Unreadable:
    """Paths that could not be read, each warned about once and kept in a text file, one a line.

    Args:
        file: the text file; several processes may append to it.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.paths: set[str] = set()
        self._read()

    def _read(self) -> None:
        if self.file.exists():
            self.paths |= set(self.file.read_text().splitlines())

    def add(self, paths: list[str]) -> None:
        """Take note of a batch's unreadable files.

        Args:
            paths: of the files.
        """
        for path in dict.fromkeys(paths):
            if path in self.paths:
                continue
            self._read()  # another rank may have met it
            if path in self.paths:
                continue
            # Appending, not renaming: several ranks may write.
            with self.file.open("a") as lines:
                lines.write(f"{path}\n")
            self.paths.add(path)
            warnings.warn(f"cannot read {path}; another image takes its place ({self.file})", stacklevel=2)


def count_images(batch: Mapping[str, Any]) -> int:
    """Images of a batch: those in "image" and all frames in "clip", else the items of the first tensor.

    Args:
        batch: what collate returned.

    Example:
        >>> count_images({"image": torch.zeros(4, 3, 2, 2), "clip": torch.zeros(2, 8, 3, 2, 2)})
        20
    """
    known = [batch["image"].shape[0]] if torch.is_tensor(batch.get("image")) else []
    if torch.is_tensor(batch.get("clip")):
        known.append(math.prod(batch["clip"].shape[:2]))
    tensors = (len(value) for value in batch.values() if torch.is_tensor(value) and value.ndim)
    return sum(known) if known else next(tensors, 0)
