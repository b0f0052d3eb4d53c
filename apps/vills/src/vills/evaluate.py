"""The evaluate stage: fine-tuned models -> features -> mAP and CMC for images, videos and their mix."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from reid_core.data.datasets import ImageDataset, TrackletDataset
from reid_core.data.manifest import Manifest
from reid_core.data.transforms import eval_transform
from reid_core.files import write_atomically
from reid_core.models.features import extract, valid_path
from reid_core.models.heads import ReIDModel
from reid_core.training.protocols import Logger
from reid_eval import PROTOCOLS, Result
from reid_eval import evaluate as score
from vills.config import Config
from vills.figures import draw_figures
from vills.finetune import MODEL_FILE, build_finetuning, sizes
from vills.model import CheckpointError
from vills.prepare import manifest_file

RANKS = (1, 5, 10, 20)
"""Ranks that VILLS' tables print."""
RESULTS_FILE = "results.json"
TITLES = {"image": "image", "video": "video", "mix": "image-to-video"}
NAMES = {"pretrained": "VILLS", "scratch": "from scratch"}


class Side(NamedTuple):
    """Queries or gallery of one mode.

    Attributes:
        dataset: images or clips.
        pids: int64 [n].
        camids: int64 [n].
        pictures: an image's path, or a clip's, for figures.
    """

    dataset: ImageDataset | TrackletDataset
    pids: np.ndarray
    camids: np.ndarray
    pictures: list[Path]


class Mode(NamedTuple):
    """A retrieval problem: names of its query and gallery features."""

    query: str
    gallery: str


MODES = {
    "image": Mode("query_images", "gallery_images"),
    "video": Mode("query_clips", "gallery_clips"),
    "mix": Mode("query_frames", "gallery_clips"),
}


def evaluate(
    config: Config, prepared: Path, variants: Mapping[str, Path], folder: Path, logger: Logger | None = None
) -> dict[str, Any]:
    """Score each fine-tuned model and draw figures of the first.

    Args:
        config: the whole configuration.
        prepared: folder of the prepare stage.
        variants: "pretrained" or "scratch" -> folder of its finetune stage.
        folder: the stage's folder; gets features, results.json and figures/.
        logger: gets the metrics; None logs nothing.

    Returns:
        Variant -> mode -> mAP, rank_1, rank_5, rank_10, rank_20 and more, all in 0..1.
    """
    sides = load_sides(config, prepared)
    results: dict[str, dict[str, Result]] = {}
    found: dict[str, dict[str, Any]] = {}
    for variant, trained in variants.items():
        model = load_reid(config, prepared, trained / MODEL_FILE)
        place = folder / variant
        for name, side in sides.items():
            _extract(config, model, side, place / f"{name}.npy")
        results[variant] = {
            name: _score(config, sides, place, mode)
            for name, mode in MODES.items()
            if mode.query in sides and mode.gallery in sides
        }
        found[variant] = {name: result.summary() for name, result in results[variant].items()}
        if variant == next(iter(variants)):
            features = {name: np.load(place / f"{name}.npy", mmap_mode="r") for name in sides}
            draw_figures(config, model, sides, features, results[variant], folder / "figures")
    write_atomically(folder / RESULTS_FILE, json.dumps(found, indent=2) + "\n")
    if logger is not None:
        logger.metrics(flat_metrics(found), step=0)
    return found


def flat_metrics(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, float]:
    """Results as metrics: image/mAP, video/rank_1, ...; those of a second model behind its name.

    Args:
        found: variant -> mode -> name -> value.

    Returns:
        Name -> number.

    Example:
        >>> flat_metrics({"pretrained": {"image": {"mAP": 0.5}}, "scratch": {"image": {"mAP": 0.25}}})
        {'image/mAP': 0.5, 'scratch/image/mAP': 0.25}
    """
    metrics = {}
    for number, (variant, modes) in enumerate(found.items()):
        prefix = f"{variant}/" if number else ""
        for mode, values in modes.items():
            for name, value in values.items():
                if isinstance(value, int | float):
                    metrics[f"{prefix}{mode}/{name}"] = float(value)
    return metrics


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


def load_sides(config: Config, prepared: Path) -> dict[str, Side]:
    """Queries and galleries that the sources have: images, clips of T even frames, and single frames.

    Args:
        config: the whole configuration.
        prepared: folder of the prepare stage.

    Returns:
        query_images, gallery_images, query_clips, gallery_clips, query_frames -> side.
    """
    image_size, frame_size = sizes(config)
    image_transform, frame_transform = eval_transform(image_size), eval_transform(frame_size)
    frames = _frames(config)
    sides: dict[str, Side] = {}
    if config.data.image is not None:
        manifest = Manifest.load(manifest_file(prepared, "data.image"))
        for split in ("query", "gallery"):
            rows = manifest.select(split)
            images = ImageDataset(rows, image_transform, replace=False)
            sides[f"{split}_images"] = Side(images, rows.pids, rows.camids, rows.files)
    if config.data.video is not None:
        manifest = Manifest.load(manifest_file(prepared, "data.video"))
        for split in ("query", "gallery"):
            rows = manifest.select(split)
            clips = TrackletDataset(rows, frame_transform, frames, "even", replace=False)
            middles = [int(track[len(track) // 2]) for track in clips.tracklets]
            pictures = [rows.root / rows.table["path"].iat[row] for row in middles]
            sides[f"{split}_clips"] = Side(clips, clips.pids, clips.camids, pictures)
            if split == "query":  # the paper's mix (4.2.3): single frames of the query videos
                chosen = np.zeros(len(rows), dtype=bool)
                chosen[middles] = True
                single = rows.where(chosen)
                images = ImageDataset(single, image_transform, replace=False)
                sides["query_frames"] = Side(images, single.pids, single.camids, single.files)
    return sides


def load_reid(config: Config, prepared: Path, path: Path) -> ReIDModel:
    """A fine-tuned model, in eval mode.

    Args:
        config: the whole configuration.
        prepared: folder of the prepare stage, for the number of identities.
        path: final.pt of a finetune stage.

    Returns:
        The model.

    Raises:
        CheckpointError: the file is of another architecture.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    objective = build_finetuning(config, "scratch", None, state["pids"].tolist())
    try:
        objective.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} is a checkpoint of another architecture than the configured model: {error}"
        ) from error
    return objective.model.eval()


def _extract(config: Config, model: ReIDModel, side: Side, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    extract(
        model,
        side.dataset,
        path,
        batch_size=config.evaluate.batch_size,
        workers=config.machine.workers,
        device="cpu" if config.machine.accelerator == "cpu" else "auto",
        flip=config.evaluate.flip,
        fingerprint=repr((sizes(config), _frames(config))),
    )


def _frames(config: Config) -> int:
    return config.evaluate.frames or config.finetune.frames or config.pretrain.frames


def _score(config: Config, sides: Mapping[str, Side], folder: Path, mode: Mode) -> Result:
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
        metric=config.evaluate.metric,
        ranks=RANKS,
        protocol=PROTOCOLS[config.evaluate.protocol],
    )
