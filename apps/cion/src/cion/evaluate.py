"""The evaluate stage: the target's test people are sought by each model of the run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cion.config import Config, Evaluation
from reid_core.data.datasets import ImageDataset
from reid_core.data.manifest import Manifest
from reid_core.data.transforms import eval_transform
from reid_core.files import write_atomically
from reid_core.models.features import extract
from reid_core.models.heads import ReIDModel
from reid_core.training.protocols import Logger
from reid_eval import evaluate as score
from reid_eval import find_protocol

RESULTS_FILE = "results.json"
RANKS = (1, 5, 10)
"""Ranks of the papers' tables."""
NAMES = {
    "initial": "as it began",
    "source": "source alone",
    "target": "Cluster Contrast",
    "none": "no pre-training",
    "dino": "DINO",
    "raw": "CION, raw tracklets",
    "tracklet": "CION, tracklet",
    "video": "CION, video",
    "cross_video": "CION, denoised",
}
"""What a run's models are called."""


def evaluate(
    config: Config,
    target: Manifest,
    models: Mapping[str, ReIDModel],
    folder: Path,
    logger: Logger | None = None,
) -> dict[str, Any]:
    """Score models on the target's queries and gallery.

    Args:
        config: the whole configuration.
        target: its manifest.
        models: by name, see NAMES.
        folder: the stage's folder; gets features and results.json.
        logger: gets the metrics; None logs nothing.

    Returns:
        Model -> mAP, rank_1, rank_5, rank_10 and more, rates in 0..1.
    """
    found = {name: _score(config, target, model, folder / name) for name, model in models.items()}
    write_atomically(folder / RESULTS_FILE, json.dumps(found, indent=2) + "\n")
    if logger is not None:
        logger.metrics(flat_metrics(found), step=0)
    return found


def flat_metrics(found: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Results as metrics.

    Args:
        found: model -> name -> value.

    Example:
        >>> flat_metrics({"target": {"mAP": 0.5, "metric": "cosine"}})
        {'target/mAP': 0.5}
    """
    return {
        f"{model}/{name}": float(value)
        for model, values in found.items()
        for name, value in values.items()
        if isinstance(value, int | float)
    }


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Results in per cent, a line a model.

    Args:
        found: model -> name -> value.

    Example:
        >>> print(table({"initial": {"mAP": 0.1, "rank_1": 0.25, "rank_5": 0.5, "rank_10": 1.0}}))
        %                         mAP  Rank-1  Rank-5 Rank-10
        as it began              10.0    25.0    50.0   100.0
    """
    lines = [f"{'%':<22}" + f"{'mAP':>7}" + "".join(f"{f'Rank-{rank}':>8}" for rank in RANKS)]
    for name, values in found.items():
        rates = "".join(f"{100 * values[f'rank_{rank}']:>8.1f}" for rank in RANKS)
        lines.append(f"{NAMES.get(name, name):<22}{100 * values['mAP']:>7.1f}{rates}")
    return "\n".join(lines)


def _score(config: Config, target: Manifest, model: ReIDModel, folder: Path) -> dict[str, Any]:
    return score_model(
        model,
        target,
        eval_transform(config.model.image_size, per_image=config.model.per_image),
        folder,
        config.evaluate,
        config.train.workers,
        config.train.accelerator,
        repr(config.model),
    )


def score_model(
    model: nn.Module,
    target: Manifest,
    transform: Callable[[Tensor], Tensor],
    folder: Path,
    settings: Evaluation,
    workers: int,
    accelerator: str,
    fingerprint: str,
) -> dict[str, Any]:
    """Score one model on the target's queries and gallery.

    Args:
        model: from images to descriptors.
        target: the manifest.
        transform: from uint8 [3 h w] to what the model takes.
        folder: gets query.npy and gallery.npy, the features.
        settings: protocol and batches.
        workers: processes that load images.
        accelerator: Lightning's name.
        fingerprint: what the features depend on beside the weights.

    Returns:
        mAP, rank_1, rank_5, rank_10 and more, rates in 0..1.
    """
    sides = []
    for split in ("query", "gallery"):
        rows = target.select(split)
        features = extract(
            model,
            ImageDataset(rows, transform, replace=False),
            folder / f"{split}.npy",
            batch_size=settings.batch_size,
            workers=workers,
            device="cpu" if accelerator == "cpu" else "auto",
            flip=settings.flip,
            fingerprint=fingerprint,
        )
        readable = features.any(axis=1)  # a descriptor has length one, an image that can't be read zeros
        sides.append((features[readable], rows.pids[readable], rows.camids[readable]))
    (query, *query_ids), (gallery, *gallery_ids) = sides
    result = score(
        query,
        gallery,
        query_ids[0],
        gallery_ids[0],
        query_ids[1],
        gallery_ids[1],
        ranks=RANKS,
        protocol=find_protocol(settings.protocol),
    )
    return result.summary()
