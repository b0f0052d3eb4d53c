"""Clips of tracklets with the platform that each was seen from, and features made once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from reid_core.data.datasets import TrackletDataset
from reid_core.data.manifest import Manifest
from reid_core.data.samplers import Draw
from reid_core.data.transforms import eval_transform
from reid_core.recipe import Job
from vsla_clip.clip import MEAN, STD
from vsla_clip.config import SOURCE, Size


def training_rows(job: Job) -> Manifest:
    """The training rows whose person is known.

    Args:
        job: of a stage that reads the training split.
    """
    rows = job.manifest(SOURCE, "train")
    return rows.where(rows.pids >= 0)


def even_clips(rows: Manifest, size: Size, frames: int) -> TrackletDataset:
    """Clips for features: frames spread evenly over each tracklet, unreadable ones marked.

    Args:
        rows: of the tracklets.
        size: height and width.
        frames: of a clip.
    """
    return TrackletDataset(rows, eval_transform(size, mean=MEAN, std=STD), frames, "even", replace=False)


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
