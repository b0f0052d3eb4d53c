"""The evaluate stage: tracklets' features, sought within the protocol and from platform to platform (5.1)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from reid_adapters import SetEncoder
from reid_core.data.manifest import Manifest
from reid_core.files import write_atomically
from reid_core.models.features import valid_path
from reid_core.training.protocols import Logger
from reid_eval import evaluate as score
from reid_eval import find_protocol
from vsla_clip.clips import even_clips
from vsla_clip.config import Config
from vsla_clip.prepare import platforms
from vsla_clip.stage1 import FEATURES_FILE, extract_features

RESULTS_FILE = "results.json"
RANKS = (1, 5, 10, 20)
ALL = "all"
"""What all queries together are called, beside those of each platform."""


class Side(NamedTuple):
    """Queries or gallery: features [n e], int64 pids and camids [n], and each row's platform."""

    features: np.ndarray
    pids: np.ndarray
    camids: np.ndarray
    platforms: np.ndarray


class OnPlatform(nn.Module):
    """An encoder for clips that are all from one platform.

    Args:
        encoder: with or without platform prompts.
        platform: its id.
    """

    def __init__(self, encoder: SetEncoder, platform: int) -> None:
        super().__init__()
        self.encoder, self.platform = encoder, platform

    def forward(self, clips: Tensor) -> Tensor:
        """Clips [b t 3 h w] -> features [b e]."""
        return self.encoder(clips, torch.full((len(clips),), self.platform))


def evaluate(
    config: Config, manifest: Manifest, encoder: SetEncoder, folder: Path, logger: Logger | None = None
) -> dict[str, Any]:
    """Score an encoder on the queries and the gallery.

    Args:
        config: the whole configuration.
        manifest: of the data set.
        encoder: clips -> features.
        folder: the stage's folder; gets features and results.json.
        logger: gets the metrics; None logs nothing.

    Returns:
        "all", and with several platforms "ground to aerial" and the like -> mAP, rank_1, ... in 0..1.

    Raises:
        ValueError: no query has a right answer under the protocol.
    """
    query, gallery = (
        _side(config, manifest, encoder, split, folder / split) for split in ("query", "gallery")
    )
    found = {ALL: _score(config, query, gallery)}
    for name in np.unique(query.platforms):
        mine = query.platforms == name
        others = [other for other in np.unique(gallery.platforms) if other != name]
        if len(others) == 1:
            part = Side(*(column[mine] for column in query))
            found[f"{name} to {others[0]}"] = _score(config, part, gallery)
    write_atomically(folder / RESULTS_FILE, json.dumps(found, indent=2) + "\n")
    if logger is not None:
        logger.metrics(flat_metrics(found), step=0)
    return found


def flat_metrics(found: dict[str, Any]) -> dict[str, float]:
    """Results as metrics.

    Args:
        found: direction -> name -> value.

    Example:
        >>> flat_metrics({"all": {"mAP": 0.5}, "ground to aerial": {"mAP": 0.25}})
        {'mAP': 0.5, 'ground_to_aerial/mAP': 0.25}
    """
    return {
        name if direction == ALL else f"{direction.replace(' ', '_')}/{name}": float(value)
        for direction, values in found.items()
        for name, value in values.items()
        if isinstance(value, int | float)
    }


def _side(config: Config, manifest: Manifest, encoder: SetEncoder, split: str, folder: Path) -> Side:
    """Features of a split, platform by platform, without tracklets that can't be read."""
    rows = manifest.select(split)
    parts = []
    for name in platforms(rows):
        clips = even_clips(
            rows.where((rows.table["platform"] == name).to_numpy(dtype=bool)),
            config.data,
            config.evaluate.frames,
        )
        known = config.pbp.platforms
        model = OnPlatform(encoder, known.index(name) if name in known else 0)
        place = folder / name if name else folder
        features = extract_features(config, model, clips, place)
        readable = np.load(valid_path(place / FEATURES_FILE))
        where = np.full(len(clips), name or "unknown")
        parts.append(Side(*(column[readable] for column in (features, clips.pids, clips.camids, where))))
    return Side(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _score(config: Config, query: Side, gallery: Side) -> dict[str, Any]:
    return score(
        query.features,
        gallery.features,
        query.pids,
        gallery.pids,
        query.camids,
        gallery.camids,
        ranks=RANKS,
        protocol=find_protocol(config.evaluate.protocol),
        query_columns={"platform": query.platforms},
        gallery_columns={"platform": gallery.platforms},
    ).summary()
