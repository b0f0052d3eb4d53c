"""Clips of tracklets with the platform that each was seen from."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from reid_core.data.datasets import TrackletDataset
from reid_core.data.manifest import Manifest
from reid_core.data.samplers import Draw
from reid_core.data.transforms import eval_transform, train_transform
from vsla_clip.base import MEAN, STD
from vsla_clip.config import DataConfig


def training_rows(manifest: Manifest) -> Manifest:
    """The training rows whose person is known.

    Args:
        manifest: of the data set.
    """
    rows = manifest.select("train")
    return rows.where(rows.pids >= 0)


def training_clips(rows: Manifest, data: DataConfig, names: tuple[str, ...] = ()) -> PlatformClips:
    """Clips for training: T frames, one of each equal part of a tracklet, augmented alike (5.2).

    Args:
        rows: of the training tracklets.
        data: frames, size and augmentation.
        names: platforms in the order of their ids; none leaves ids out.

    Returns:
        Items "clip" [t 3 h w], "pid", "platform" and those of `TrackletDataset` besides.
    """
    transform = train_transform(data.size, padding=data.padding, erasing=data.erasing, mean=MEAN, std=STD)
    return PlatformClips(TrackletDataset(rows, transform, data.frames, "sparse"), names)


def even_clips(rows: Manifest, data: DataConfig, frames: int | None = None) -> TrackletDataset:
    """Clips for features: frames spread evenly over each tracklet, unreadable ones marked.

    Args:
        rows: of the tracklets.
        data: frames and size.
        frames: in place of the data's.
    """
    transform = eval_transform(data.size, mean=MEAN, std=STD)
    return TrackletDataset(rows, transform, frames or data.frames, "even", replace=False)


class PlatformClips(Dataset[dict[str, Any]]):
    """Clips with the id of their platform.

    Args:
        clips: of the tracklets.
        names: platforms in the order of their ids; none leaves ids out.
    """

    def __init__(self, clips: TrackletDataset, names: tuple[str, ...]) -> None:
        self.clips = clips
        self.manifest = clips.manifest
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
