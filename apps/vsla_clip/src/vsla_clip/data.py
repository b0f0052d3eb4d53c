"""Clips of tracklets with the platform that each was seen from, and features made once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from reid_core.data.datasets import TrackletDataset
from reid_core.data.frames import Sampling
from reid_core.data.manifest import Manifest
from reid_core.data.samplers import Draw
from reid_core.data.transforms import eval_transform, resize, train_transform
from reid_core.recipe import Job
from vsla_clip.config import SOURCE, Interpolation, Preprocessing, Size


def training_rows(job: Job) -> Manifest:
    """The training rows whose person is known.

    Args:
        job: of a stage that reads the training split.
    """
    rows = job.manifest(SOURCE, "train")
    return rows.where(rows.pids >= 0)


def test_clips(
    rows: Manifest, prepared: Preprocessing, frames: int, sampling: Sampling = "even"
) -> TrackletDataset:
    """Clips for features: the same frames of a tracklet each time, unreadable tracklets marked.

    Args:
        rows: of the tracklets.
        prepared: what is done to a frame.
        frames: of a clip.
        sampling: even or first, see `reid_core.data.frames.sample_frames`.
    """
    transform = eval_transform(prepared.size, mean=prepared.mean, std=prepared.std)
    return TrackletDataset(rows, _resize(transform, prepared), frames, sampling, replace=False)


def training_clips(
    rows: Manifest, prepared: Preprocessing, frames: int, padding: int, erasing: float
) -> TrackletDataset:
    """Clips for training: T frames, one of each equal part of the tracklet (5.2), augmented together.

    Args:
        rows: of the tracklets.
        prepared: what is done to a frame.
        frames: of a clip.
        padding, erasing: see `DataConfig`.
    """
    transform = train_transform(
        prepared.size, padding=padding, erasing=erasing, mean=prepared.mean, std=prepared.std
    )
    return TrackletDataset(rows, _resize(transform, prepared), frames, "sparse")


def _resize(transform: Callable[[Tensor], Tensor], prepared: Preprocessing) -> Callable[[Tensor], Tensor]:
    """A transform behind a resize of the interpolation wanted; its own then has nothing to do."""
    return partial(_transform, transform=transform, size=prepared.size, interpolation=prepared.interpolation)


def _transform(
    images: Tensor, *, transform: Callable[[Tensor], Tensor], size: Size, interpolation: Interpolation
) -> Tensor:
    return transform(resize(images, size, interpolation))


class PlatformClips(Dataset[dict[str, Any]]):
    """Clips with the id of their platform.

    Args:
        clips: of the tracklets.
        names: platforms in the order of their ids; none leaves ids out.
    """

    def __init__(self, clips: TrackletDataset, names: Sequence[str]) -> None:
        self.clips = clips
        column = clips.manifest.table["platform"].to_numpy(dtype=object)
        firsts = column[[rows[0] for rows in clips.tracklets]]
        self.platforms = np.array([names.index(name) for name in firsts]) if names else None

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, item: int | Draw) -> dict[str, Any]:
        found = self.clips[item]
        if self.platforms is not None:
            found["platform"] = int(self.platforms[found["index"]])
        return found


class FeatureRows(Dataset[dict[str, Any]]):
    """Features made once, and whose they are.

    Args:
        features: float32 [n e].
        pids: int64 [n].
    """

    def __init__(self, features: np.ndarray, pids: np.ndarray) -> None:
        self.features, self.pids = features, pids

    def __len__(self) -> int:
        return len(self.pids)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        return {
            "features": torch.from_numpy(np.array(self.features[draw.index])),
            "pid": int(self.pids[draw.index]),
        }
