"""The evaluate stage: fine-tuned models -> features -> mAP and CMC for images, videos and their mix."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from reid_core.data.datasets import ImageDataset, TrackletDataset
from reid_core.data.transforms import eval_transform
from reid_core.files import write_atomically
from reid_core.models.features import Features, retrieval_arguments
from reid_core.models.folder import read_folder
from reid_core.processes import process_rank
from reid_core.recipe import Job, extract_features, flatten_results
from reid_eval import PROTOCOLS, Result
from reid_eval import evaluate as score
from vills.figures import draw_figures
from vills.modes import MODES, NAMES, TITLES, Evaluation, Mode
from vills.stages.finetune import MODEL_FOLDER

RANKS = (1, 5, 10, 20)
"""Ranks that VILLS' tables print."""
RESULTS_FILE = "results.json"


def evaluate(job: Job) -> dict[str, Any]:
    """Score each fine-tuned model and draw figures of them.

    Args:
        job: its section is an `Evaluation`; its folder gets features, results.json and figures/.

    Returns:
        Variant -> mode -> mAP, rank_1, rank_5, rank_10, rank_20 and more, all in 0..1.
    """
    section: Evaluation = job.section
    sides = load_sides(job)
    results: dict[str, dict[str, Result]] = {}
    features: dict[str, dict[str, Features]] = {}
    for variant in section.variants:
        model, place = load_model(job, variant), job.folder / variant
        features[variant] = {
            name: extract_features(job, model, side, place / f"{name}.npy", section.evaluate.flip)
            for name, side in sides.items()
        }
        results[variant] = {
            name: _score(section, mode, features[variant])
            for name, mode in MODES.items()
            if process_rank() == 0 and mode.query in sides and mode.gallery in sides
        }
    found = {
        variant: {name: result.summary() for name, result in modes.items()}
        for variant, modes in results.items()
    }
    if process_rank() == 0:
        write_atomically(job.folder / RESULTS_FILE, json.dumps(found, indent=2) + "\n")
        models = {variant: load_model(job, variant) for variant in section.variants}
        draw_figures(section, models, sides, features, results, job.folder)
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


def load_sides(job: Job) -> dict[str, ImageDataset | TrackletDataset]:
    """Queries and galleries that the sources have: images, clips of T even frames, and single frames.

    Args:
        job: its section is an `Evaluation`.

    Returns:
        query_images, gallery_images, query_clips, gallery_clips, query_frames -> data set.
    """
    section: Evaluation = job.section
    shapes = section.shapes
    as_image, as_frame = eval_transform(shapes.image), eval_transform(shapes.frame)
    sides: dict[str, ImageDataset | TrackletDataset] = {}
    for split in ("query", "gallery"):
        if "data.image" in section.protocols:
            sides[f"{split}_images"] = ImageDataset(
                job.manifest("data.image", split), as_image, replace=False
            )
        if "data.video" in section.protocols:
            rows = job.manifest("data.video", split)
            clips = TrackletDataset(rows, as_frame, shapes.frames, "even", replace=False)
            sides[f"{split}_clips"] = clips
            if split == "query":  # the paper's mix (4.2.3): single frames of the query videos
                sides["query_frames"] = ImageDataset(clips.rows, as_image, replace=False)
    return sides


def load_model(job: Job, variant: str) -> Any:
    """A fine-tuned model, in eval mode.

    Args:
        job: reads its fine-tuning.
        variant: "pretrained" or "scratch".
    """
    return read_folder(job.inputs[f"finetune/{variant}"] / MODEL_FOLDER)[0]


def _score(section: Evaluation, mode: Mode, features: Mapping[str, Features]) -> Result:
    return score(
        **retrieval_arguments(features[mode.query], features[mode.gallery]),
        metric=section.evaluate.metric,
        ranks=RANKS,
        protocol=PROTOCOLS[section.protocols[mode.source]],
    )
