"""The evaluate stage: fine-tuned models -> features -> mAP and CMC for images, videos and image-to-video."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from reid_core.data.datasets import ImageDataset, TrackletDataset
from reid_core.data.manifest import Manifest
from reid_core.data.transforms import eval_transform
from reid_core.files import write_atomically
from reid_core.models.features import Features, retrieval_arguments
from reid_core.models.folder import read_folder
from reid_core.processes import process_rank
from reid_core.recipe import Job, extract_features, flatten_results
from reid_core.training.checkpoints import load_state, read_checkpoint
from reid_eval import PROTOCOLS, Result, average, single_shot
from reid_eval import evaluate as score
from vills.figures import draw_figures
from vills.modes import NAMES, TITLES, Evaluation, Mode, modes
from vills.sources import TEST_SPLITS
from vills.stages.finetune import MODEL_FOLDER, kept_epochs

RANKS = (1, 5, 10, 20)
"""Ranks that VILLS' tables print."""
RESULTS_FILE = "results.json"
Trials = list[Result]


def evaluate(job: Job) -> dict[str, Any]:
    """Score each fine-tuned model and draw figures of them.

    Args:
        job: its section is an `Evaluation`; its folder gets features, results.json and figures/.

    Returns:
        Variant -> mode -> mAP, rank_1, rank_5, rank_10, rank_20 and more, all in 0..1. Where models of some
        epochs were kept, "epochs" -> epoch -> mode -> the same.
    """
    section: Evaluation = job.section
    sides = load_sides(job)
    found: dict[str, dict[str, Any]] = {}
    models: dict[str, Any] = {}
    features: dict[str, dict[str, Features]] = {}
    firsts: dict[str, dict[str, Result]] = {}
    for variant in section.variants:
        model = models[variant] = load_model(job, variant)
        features[variant], results = _score_all(job, model, sides, job.folder / variant)
        found[variant] = {name: _summary(trials) for name, trials in results.items()}
        firsts[variant] = {name: trials[0] for name, trials in results.items()}
        kept = copy.deepcopy(model)
        for epoch, file in kept_epochs(job.inputs[f"finetune/{variant}"]).items():
            load_state(file, read_checkpoint(file), kept)
            _, results = _score_all(job, kept, sides, job.folder / variant / "epoch")
            scores = {name: _summary(trials) for name, trials in results.items()}
            found[variant].setdefault("epochs", {})[str(epoch)] = scores
            named = flatten_results({variant: scores}, prefix=len(section.variants) > 1)
            job.logger.metrics(named, step=epoch)
    if process_rank() == 0:
        write_atomically(job.folder / RESULTS_FILE, json.dumps(found, indent=2) + "\n")
        draw_figures(job.folder, section, sides, models, features, firsts)
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
    order = sorted(found, key=lambda variant: variant != "scratch")
    tasks = [task for task in TITLES if any(task in found[variant] for variant in found)]
    rates = [name for name in found[order[0]][tasks[0]] if name.startswith("tar_")]
    metrics = ["mAP", *(f"rank_{rank}" for rank in RANKS), *rates]
    for name in metrics:
        table.add_column(name.replace("rank_", "Rank-").replace("tar_", "TAR@"), justify="right")
    for task in tasks:
        for variant in order:
            table.add_row(
                TITLES[task] if variant == order[0] else "",
                NAMES[variant],
                *(f"{100 * found[variant][task][name]:.1f}" for name in metrics),
                end_section=variant == order[-1],
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

    def images(rows: Manifest) -> ImageDataset:
        return ImageDataset(rows, as_image, replace=False)

    def clips(rows: Manifest) -> TrackletDataset:
        return TrackletDataset(rows, as_frame, shapes.frames, "even", replace=False)

    sides: dict[str, ImageDataset | TrackletDataset] = {}
    if "data.mix" in section.protocols:
        sides["mix_images"] = images(job.manifest("data.mix", "query"))
        sides["mix_clips"] = clips(job.manifest("data.mix", "gallery"))
    for split in TEST_SPLITS:
        if "data.image" in section.protocols:
            sides[f"{split}_images"] = images(job.manifest("data.image", split))
        if "data.video" in section.protocols:
            sides[f"{split}_clips"] = clips(job.manifest("data.video", split))
    if "query_clips" in sides:  # the paper's "mix" (4.2.3): single frames of the query videos
        sides["query_frames"] = images(sides["query_clips"].rows)
    return sides


def load_model(job: Job, variant: str) -> Any:
    """A fine-tuned model, in eval mode.

    Args:
        job: reads its fine-tuning.
        variant: "pretrained" or "scratch".
    """
    return read_folder(job.inputs[f"finetune/{variant}"] / MODEL_FOLDER)[0]


def _score_all(
    job: Job, model: Any, sides: Mapping[str, Any], folder: Path
) -> tuple[dict[str, Features], dict[str, Trials]]:
    """Features of all sides, and in rank 0 the results of each mode."""
    section: Evaluation = job.section
    features = {
        name: extract_features(job, model, side, folder / f"{name}.npy", section.evaluate.flip)
        for name, side in sides.items()
    }
    results = {
        name: _score(section, mode, features)
        for name, mode in modes(section.protocols).items()
        if process_rank() == 0
    }
    return features, results


def _score(section: Evaluation, mode: Mode, features: Mapping[str, Features]) -> Trials:
    """Results over the whole gallery, or over each single-shot gallery."""
    counts = PROTOCOLS[section.protocols[mode.source]]
    chosen = [single_shot(counts, seed) for seed in range(section.galleries[mode.source])] or [counts]
    arguments = retrieval_arguments(features[mode.query], features[mode.gallery])
    options: dict[str, Any] = {"metric": section.evaluate.metric, "far": section.evaluate.far}
    return [score(**arguments, **options, ranks=RANKS, protocol=each) for each in chosen]


def _summary(trials: Trials) -> dict[str, Any]:
    """The mean over trials, with the standard deviations where there are several."""
    found = trials[0].summary()
    if len(trials) > 1:
        spread = average(trials)
        found |= {name: spread[name].mean for name in spread if not name.startswith("num_")}
        found |= {f"{name}_std": spread[name].std for name in ("mAP", *(f"rank_{rank}" for rank in RANKS))}
    return found
