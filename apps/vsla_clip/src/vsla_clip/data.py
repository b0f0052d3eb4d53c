"""Clips of tracklets with the platform that each was seen from, and their features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from reid_core.data.datasets import TrackletDataset
from reid_core.data.manifest import Manifest
from reid_core.data.samplers import Draw
from reid_core.data.transforms import eval_transform
from reid_core.models.features import extract, valid_path
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


def name_platforms(rows: Manifest, platforms: Mapping[int, str]) -> Manifest:
    """Rows with the platform of each one's camera.

    Args:
        rows: of a manifest.
        platforms: camera id -> platform; empty leaves those that the manifest has.

    Raises:
        ValueError: a camera that is not named.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"path": ["a", "b"], "split": "train", "camid": [1, 2]})
        >>> named = name_platforms(Manifest(table, Path("/data")), {1: "ground", 2: "aerial"})
        >>> named.table["platform"].tolist()
        ['ground', 'aerial']
    """
    if not platforms:
        return rows
    names = rows.table["camid"].map(dict(platforms))
    if names.isna().any():
        raise ValueError(f"data.platforms names no platform of camera {rows.camids[names.isna()][0]}")
    return Manifest(rows.table.assign(platform=names), rows.root, rows.name)


def even_clips(rows: Manifest, size: Size, frames: int) -> TrackletDataset:
    """Clips for features: frames spread evenly over each tracklet, unreadable ones marked.

    Args:
        rows: of the tracklets.
        size: height and width.
        frames: of a clip.
    """
    return TrackletDataset(rows, eval_transform(size, mean=MEAN, std=STD), frames, "even", replace=False)


def extract_clips(
    job: Job, encoder: nn.Module, clips: TrackletDataset, path: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Features of clips, in a file that a killed run goes on with.

    Args:
        job: whose runtime and digest count.
        encoder: clips -> features.
        clips: of the tracklets.
        path: the file.

    Returns:
        Features float32 [n e], and bool [n]: whether a clip could be read.
    """
    features = extract(
        encoder,
        clips,
        path,
        max(1, job.runtime.batch_size // clips.frames),
        job.runtime.workers,
        "cpu" if job.runtime.accelerator == "cpu" else "auto",
        fingerprint=job.digest,
    )
    return features, np.load(valid_path(path))


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
