"""The evaluate stage: tracklets' features, sought within the protocol and from platform to platform (5.1)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from reid_adapters import SetEncoder
from reid_core.data.manifest import Manifest
from reid_core.files import write_atomically
from reid_core.models.features import Features, retrieval_arguments
from reid_core.processes import process_rank
from reid_core.recipe import Job, extract_features, flatten_results
from reid_core.recipe.tables import print_lines
from reid_eval import evaluate as score
from reid_eval import find_protocol
from vsla_clip.clip import adapt, load_clip, read_weights
from vsla_clip.config import SOURCE, Adaptation, CLIPConfig, Size
from vsla_clip.data import even_clips
from vsla_clip.stages.stage1 import FEATURES_FILE

RESULTS_FILE = "results.json"
RANKS = (1, 5, 10, 20)
UNNAMED = "unknown"
"""What a platform without a name is called."""
ALL = "all"
"""What all queries together are called, beside those of each platform."""


@dataclass(frozen=True)
class Evaluation:
    """What the stage gets; its fields are explained in `vsla_clip.config`."""

    clip: CLIPConfig
    change: Adaptation
    protocol: str
    size: Size
    frames: int


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


def evaluate(job: Job) -> dict[str, Any]:
    """Score an encoder on the queries and the gallery; features are extracted by all processes together.

    Args:
        job: its section is an `Evaluation`; its folder gets features and results.json.

    Returns:
        "all", and with several platforms "ground to aerial" and the like -> mAP, rank_1, ... in 0..1.

    Raises:
        ValueError: no query has a right answer under the protocol.
    """
    section: Evaluation = job.section
    encoder = adapt(load_clip(job).visual, section.change, section.size)
    if "stage2" in job.inputs:
        encoder.load_state_dict(read_weights(job.inputs["stage2"], "encoder"))
    query, gallery = (_extract(job, encoder, split) for split in ("query", "gallery"))
    if process_rank() > 0:
        return {}
    found = {ALL: _score(section.protocol, query, gallery)}
    asked, there = (side.rows.table["platform"].to_numpy(dtype=object) for side in (query, gallery))
    for name in sorted(set(asked)):
        others = sorted(set(there) - {name})
        if len(others) == 1:
            part = query.take(np.flatnonzero(asked == name))
            direction = f"{name or UNNAMED} to {others[0] or UNNAMED}"
            found[direction] = _score(section.protocol, part, gallery)
    write_atomically(job.folder / RESULTS_FILE, json.dumps(found, indent=2) + "\n")
    job.logger.metrics(flatten_results(found, ALL), step=0)
    return found


def print_results(title: str, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Print results in per cent, one line per direction.

    Args:
        title: stands above them.
        found: direction -> name -> value.
    """
    lines = [["queries", "mAP", *(f"Rank-{rank}" for rank in RANKS)]]
    for direction, values in found.items():
        numbers = (values["mAP"], *(values[f"rank_{rank}"] for rank in RANKS))
        lines.append([direction, *(f"{100 * number:.1f}" for number in numbers)])
    print_lines(f"{title}: retrieval of tracklets, in per cent", lines)


def _extract(job: Job, encoder: SetEncoder, split: str) -> Features:
    """Features of a split's tracklets, extracted platform by platform."""
    section: Evaluation = job.section
    rows = job.manifest(SOURCE, split)
    column = rows.table["platform"].to_numpy(dtype=object)
    prompted = section.change.pbp.platforms if section.change.pbp else ()
    parts = []
    for name in sorted(set(column)):
        clips = even_clips(rows.where(column == name), section.size, section.frames)
        model = OnPlatform(encoder, prompted.index(name) if prompted else 0)
        path = job.folder / split / (name or UNNAMED) / FEATURES_FILE
        parts.append(extract_features(job, model, clips, path))
    table = pd.concat([part.rows.table for part in parts], ignore_index=True)
    return Features(
        np.concatenate([part.array for part in parts]),
        Manifest(table, rows.root, rows.name),
        np.concatenate([part.valid for part in parts]),
    )


def _score(protocol: str, query: Features, gallery: Features) -> dict[str, Any]:
    arguments = retrieval_arguments(query, gallery)
    return score(**arguments, ranks=RANKS, protocol=find_protocol(protocol)).summary()
