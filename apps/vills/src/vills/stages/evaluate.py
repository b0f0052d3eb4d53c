"""The evaluate stage: fine-tuned models -> features -> mAP and CMC for images, videos and their mix."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from reid_core.data.datasets import ImageDataset, TrackletDataset
from reid_core.data.transforms import eval_transform
from reid_core.files import write_atomically
from reid_core.models.features import extract, valid_path
from reid_core.models.folder import read_folder
from reid_core.models.heads import ReIDModel
from reid_core.recipe import Job, flatten_results
from reid_eval import PROTOCOLS, Result
from reid_eval import evaluate as score
from vills.config import EvaluateConfig, Shapes
from vills.figures import draw_figures
from vills.modes import MODES, TITLES, Mode, Side
from vills.stages.finetune import MODEL_FOLDER

RANKS = (1, 5, 10, 20)
"""Ranks that VILLS' tables print."""
RESULTS_FILE = "results.json"
NAMES = {"pretrained": "VILLS", "scratch": "from scratch"}


@dataclass(frozen=True)
class Evaluation:
    """What the stage gets.

    Attributes:
        evaluate: how.
        variants: fine-tuned models, the first of which gets figures.
        protocols: source -> name of the protocol.
        shapes: sizes of images and clips.
    """

    evaluate: EvaluateConfig
    variants: tuple[str, ...]
    protocols: dict[str, str]
    shapes: Shapes


def evaluate(job: Job) -> dict[str, Any]:
    """Score each fine-tuned model and draw figures of the first.

    Args:
        job: its section is an `Evaluation`; its folder gets features, results.json and figures/.

    Returns:
        Variant -> mode -> mAP, rank_1, rank_5, rank_10, rank_20 and more, all in 0..1.
    """
    section: Evaluation = job.section
    sides = load_sides(job)
    results: dict[str, dict[str, Result]] = {}
    found: dict[str, dict[str, Any]] = {}
    for variant in section.variants:
        model = _load(job, variant)
        place = job.folder / variant
        for name, side in sides.items():
            _extract(job, model, side, place / f"{name}.npy")
        results[variant] = {
            name: _score(section, sides, place, mode)
            for name, mode in MODES.items()
            if mode.query in sides and mode.gallery in sides
        }
        found[variant] = {name: result.summary() for name, result in results[variant].items()}
    write_atomically(job.folder / RESULTS_FILE, json.dumps(found, indent=2) + "\n")
    first = section.variants[0]
    features = {name: np.load(job.folder / first / f"{name}.npy", mmap_mode="r") for name in sides}
    draw_figures(
        section.evaluate,
        section.shapes,
        _load(job, first),
        sides,
        features,
        results[first],
        job.folder / "figures",
    )
    job.logger.metrics(flatten_results(found), step=0)
    return found


def print_table(found: Mapping[str, Mapping[str, Mapping[str, Any]]], console: Console | None = None) -> None:
    """Print results in per cent, from scratch beside pre-trained.

    Args:
        found: variant -> mode -> name -> value.
        console: where to; standard output by default.
    """
    table = Table(title="Retrieval across cameras, %")
    table.add_column("task")
    table.add_column("model")
    for title in ("mAP", *(f"Rank-{rank}" for rank in RANKS)):
        table.add_column(title, justify="right")
    order = sorted(found, key=lambda variant: variant != "scratch")
    modes = [mode for mode in MODES if any(mode in found[variant] for variant in found)]
    for mode in modes:
        for variant in order:
            values = found[variant][mode]
            numbers = [values["mAP"], *(values[f"rank_{rank}"] for rank in RANKS)]
            cells = [f"{100 * number:.1f}" for number in numbers]
            end = variant == order[-1]
            table.add_row(
                TITLES[mode] if variant == order[0] else "",
                NAMES[variant],
                *cells,
                end_section=end,
                style="bold" if variant == "pretrained" else None,
            )
    (console or Console()).print(table)


def load_sides(job: Job) -> dict[str, Side]:
    """Queries and galleries that the sources have: images, clips of T even frames, and single frames.

    Args:
        job: its section is an `Evaluation`.

    Returns:
        query_images, gallery_images, query_clips, gallery_clips, query_frames -> side.
    """
    section: Evaluation = job.section
    shapes, protocols = section.shapes, section.protocols
    image_transform, frame_transform = eval_transform(shapes.image), eval_transform(shapes.frame)
    sides: dict[str, Side] = {}
    for split in ("query", "gallery") if "data.image" in protocols else ():
        rows = job.manifest("data.image", split)
        images = ImageDataset(rows, image_transform, replace=False)
        sides[f"{split}_images"] = Side(images, rows.pids, rows.camids, rows.files, protocols["data.image"])
    for split in ("query", "gallery") if "data.video" in protocols else ():
        rows, protocol = job.manifest("data.video", split), protocols["data.video"]
        clips = TrackletDataset(rows, frame_transform, shapes.frames, "even", replace=False)
        middles = [int(track[len(track) // 2]) for track in clips.tracklets]
        pictures = [rows.root / rows.table["path"].iat[row] for row in middles]
        sides[f"{split}_clips"] = Side(clips, clips.pids, clips.camids, pictures, protocol)
        if split == "query":  # the paper's mix (4.2.3): single frames of the query videos
            chosen = np.zeros(len(rows), dtype=bool)
            chosen[middles] = True
            single = rows.where(chosen)
            images = ImageDataset(single, image_transform, replace=False)
            sides["query_frames"] = Side(images, single.pids, single.camids, single.files, protocol)
    return sides


def _load(job: Job, variant: str) -> Any:
    return read_folder(job.inputs[f"finetune/{variant}"] / MODEL_FOLDER)[0]


def _extract(job: Job, model: ReIDModel, side: Side, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = getattr(side.dataset, "frames", 1)
    extract(
        model,
        side.dataset,
        path,
        batch_size=max(1, job.runtime.batch_size // frames),
        workers=job.runtime.workers,
        device="cpu" if job.runtime.accelerator == "cpu" else "auto",
        flip=job.section.evaluate.flip,
        fingerprint=job.digest,
    )


def _score(section: Evaluation, sides: Mapping[str, Side], folder: Path, mode: Mode) -> Result:
    rows = {}
    for name in mode:
        valid = np.load(valid_path(folder / f"{name}.npy"))
        features = np.load(folder / f"{name}.npy", mmap_mode="r")
        rows[name] = (features[valid], sides[name].pids[valid], sides[name].camids[valid])
    query, gallery = rows[mode.query], rows[mode.gallery]
    return score(
        query[0],
        gallery[0],
        query[1],
        gallery[1],
        query[2],
        gallery[2],
        metric=section.evaluate.metric,
        ranks=RANKS,
        protocol=PROTOCOLS[sides[mode.gallery].protocol],
    )
