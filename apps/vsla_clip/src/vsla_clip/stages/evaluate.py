"""The evaluate stage: retrieval of tracklets within the protocol and from platform to platform (5.1)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from reid_adapters import SetEncoder
from reid_adapters.config import PROJECTED, Level
from reid_core.data.datasets import read_pictures
from reid_core.data.manifest import UNKNOWN, Manifest
from reid_core.files import write_atomically
from reid_core.models.features import Features, retrieval_arguments
from reid_core.processes import process_rank
from reid_core.recipe import Job, extract_features, flatten_results
from reid_core.recipe.tables import print_lines
from reid_eval import evaluate as score
from reid_eval import find_protocol
from reid_eval.pages import write_pages
from reid_eval.retrieval import Retrieval
from vsla_clip.clip import adapt, load_authors, load_clip, read_weights
from vsla_clip.config import SOURCE, TEST_SPLITS, Adaptation, CLIPConfig, Preprocessing
from vsla_clip.data import test_clips
from vsla_clip.stages.stage1 import FEATURES_FILE

RESULTS_FILE = "results.json"
RANKS = (1, 5, 10, 20)
UNNAMED = "unknown"
"""What a platform without a name is called."""
ALL = "all"
"""What all queries together are called, beside those of each platform."""
MODEL = "this run"
"""What its model is called in figures."""


class Side(NamedTuple):
    """Queries or gallery: features of tracklets, and a function from a row to some frames of it."""

    features: Features
    frames: Callable[[int], Tensor]

    def take(self, rows: np.ndarray) -> Side:
        """Some of the rows.

        Args:
            rows: int.
        """
        return Side(self.features.take(rows), lambda row: self.frames(int(rows[row])))


@dataclass(frozen=True)
class Evaluation:
    """What the stage gets; its fields are explained in `vsla_clip.config`."""

    clip: CLIPConfig
    change: Adaptation
    protocol: str
    prepared: Preprocessing
    frames: int
    sampling: Literal["even", "first"]
    levels: tuple[Level, ...]


class OnPlatform(nn.Module):
    """An encoder for clips that are all from one platform.

    Args:
        encoder: with or without platform prompts.
        platform: its id.
        levels: features, one behind the other.
    """

    def __init__(self, encoder: SetEncoder, platform: int, levels: Sequence[Level] = (PROJECTED,)) -> None:
        super().__init__()
        self.encoder, self.platform, self.levels = encoder, platform, tuple(levels)

    def forward(self, clips: Tensor) -> Tensor:
        """Clips [b t 3 h w] -> features [b e]."""
        platform = torch.full((len(clips),), self.platform)
        if self.levels == (PROJECTED,):
            return self.encoder(clips, platform)
        found = self.encoder.levels(clips, platform)
        return torch.cat([found[level] for level in self.levels], dim=1)


def evaluate(job: Job) -> dict[str, Any]:
    """Score an encoder on the queries and the gallery; features are extracted by all processes together.

    Args:
        job: its section is an `Evaluation`; its folder gets features, results.json, report.html and figures/.

    Returns:
        "all", and with several platforms "ground to aerial" and the like -> mAP, rank_1, ... in 0..1.

    Raises:
        ValueError: no query has a right answer under the protocol.
    """
    section: Evaluation = job.section
    encoder = _load(job)
    query, gallery = (_extract(job, encoder, split) for split in TEST_SPLITS)
    if process_rank() > 0:
        return {}
    scored = {ALL: _score(section.protocol, query, gallery)}
    asked, there = (side.features.rows.table["platform"].to_numpy(dtype=object) for side in (query, gallery))
    for one, other in itertools.permutations(sorted({*asked, *there}), 2):
        sides = query.take(np.flatnonzero(asked == one)), gallery.take(np.flatnonzero(there == other))
        people, others = (set(side.features.rows.pids) for side in sides)
        if people & others - {UNKNOWN}:  # else there is nothing to score
            direction = f"{one or UNNAMED} to {other or UNNAMED}"
            scored[direction] = _score(section.protocol, *sides)
    found = {direction: retrieval.result.summary() for direction, retrieval in scored.items()}
    write_atomically(job.folder / RESULTS_FILE, json.dumps(found, indent=2) + "\n")
    job.logger.metrics(flatten_results(found), step=0)
    write_pages(
        job.folder,
        {direction: {MODEL: retrieval} for direction, retrieval in scored.items()},
        title="VSLA-CLIP: retrieval of tracklets",
        details={job.title(SOURCE): f"protocol {section.protocol}"},
    )
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


def _load(job: Job) -> SetEncoder:
    """The encoder: that of a checkpoint of the authors', or CLIP as stage two left it."""
    section: Evaluation = job.section
    if "released" in job.files:
        named = section.change.pbp.platforms if section.change.pbp else ()
        return load_authors(section.clip, section.prepared.size, named, job.files["released"])
    encoder = adapt(load_clip(job).visual, section.change, section.prepared.size)
    if "stage2" in job.inputs:
        encoder.load_state_dict(read_weights(job.inputs["stage2"], "encoder"))
    return encoder


def _extract(job: Job, encoder: SetEncoder, split: str) -> Side:
    """Features of a split's tracklets, extracted platform by platform."""
    section: Evaluation = job.section
    rows = job.manifest(SOURCE, split)
    column = rows.table["platform"].to_numpy(dtype=object)
    pbp = encoder.attachment.pbp
    prompted = pbp.platforms if pbp is not None else ()
    parts, datasets = [], []
    for name in sorted(set(column)):
        if prompted and name not in prompted:
            raise ValueError(
                f"there are prompts of {', '.join(prompted)}, but {split} tracklets from {name or UNNAMED}: "
                f"set {SOURCE}.platforms (by camera) or pbp.platforms"
            )
        clips = test_clips(rows.where(column == name), section.prepared, section.frames, section.sampling)
        model = OnPlatform(encoder, prompted.index(name) if prompted else 0, section.levels)
        path = job.folder / split / (name or UNNAMED) / FEATURES_FILE
        parts.append(extract_features(job, model, clips, path))
        datasets.append(clips)
    table = pd.concat([part.rows.table for part in parts], ignore_index=True)
    features = Features(
        np.concatenate([part.array for part in parts]),
        Manifest(table, rows.root, rows.name),
        np.concatenate([part.valid for part in parts]),
    )
    items = [(dataset, index) for dataset in datasets for index in range(len(dataset))]
    return Side(features, lambda row: read_pictures(*items[row]))


def _score(protocol: str, query: Side, gallery: Side) -> Retrieval:
    arguments = retrieval_arguments(query.features, gallery.features) | {"protocol": find_protocol(protocol)}
    return Retrieval(score(**arguments, ranks=RANKS), arguments, query.frames, gallery.frames)
