"""The denoise stage: features and tracklets -> identities, level by level, beside the truth if known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from cion.pipeline.config import RunConfig
from reid_core.data.manifest import UNKNOWN, Manifest
from reid_core.data.samplers import permutation
from reid_core.models.features import valid_path
from reid_core.training.protocols import Logger
from reid_denoise import LEVELS, denoise, score

TITLES = {
    "raw": "tracklets as they come",
    "tracklet": "single-tracklet",
    "video": "single-video",
    "cross_video": "cross-video",
}


def find_identities(
    config: RunConfig,
    videos: Manifest,
    features: Path,
    truth: Path | None,
    folder: Path,
    logger: Logger | None = None,
) -> dict[str, Any]:
    """Denoise up to each level (CION 3.2), print what it did, and save the identities.

    Args:
        config: the whole configuration.
        videos: the manifest.
        features: *.npy, a row an image.
        truth: *.npy, int [n], who is on each image; None where nobody knows.
        folder: the stage's folder; gets LEVEL.npy, int64 [n], -1 for discarded images, and raw.npy, the
            tracklets.
        logger: gets the metrics; None logs nothing.

    Returns:
        Level -> images, identities and, where the truth is known, pairwise precision, recall and f1.
    """
    table = videos.table
    rows = np.load(features, mmap_mode="r")
    tracklets = np.where(np.load(valid_path(features)), table["tracklet"], UNKNOWN)
    known = np.load(truth) if truth is not None else None
    found = {"raw": tracklets}
    for level in LEVELS:
        work = folder / f"work_{level}"
        result = denoise(rows, tracklets, table["video"].to_numpy(), config.denoise, level=level, folder=work)
        found[level] = result.identity
    summary = {}
    for name, identity in found.items():
        np.save(folder / f"{name}.npy", identity)
        summary[name] = {
            "images": int((identity >= 0).sum()),
            "identities": len(np.unique(identity[identity >= 0])),
        }
        if known is not None:
            scores = score(identity, known)
            summary[name] |= {key: round(getattr(scores, key), 4) for key in ("precision", "recall", "f1")}
        if logger is not None:
            logger.metrics({f"{name}/{key}": value for key, value in summary[name].items()}, step=0)
    return summary


def denoising_table(summary: Mapping[str, Mapping[str, Any]]) -> Table:
    """What each level did.

    Args:
        summary: as `find_identities` returns it.

    Example:
        >>> denoising_table({"raw": {"images": 8, "identities": 2, "f1": 0.5}}).row_count
        1
    """
    measures = [key for key in next(iter(summary.values())) if key not in ("images", "identities")]
    table = Table(title="Identities" + (", pairwise against the truth, %" if measures else ""))
    table.add_column("denoising", no_wrap=True)
    for heading in ("images", "identities", *measures):
        table.add_column(heading, justify="right")
    for level, values in summary.items():
        rates = [f"{100 * values[key]:.1f}" for key in measures]
        table.add_row(TITLES[level], f"{values['images']:,}", f"{values['identities']:,}", *rates)
    return table


def print_denoising(summary: Mapping[str, Mapping[str, Any]]) -> None:
    """Print `denoising_table`.

    Args:
        summary: as `find_identities` returns it.
    """
    Console().print(denoising_table(summary))


def identity_manifest(videos: Manifest, identity: np.ndarray, ratio: float, seed: int) -> Manifest:
    """The images that have an identity, with it as their pid, all for training.

    Args:
        videos: the manifest.
        identity: int64 [n], -1 for discarded images.
        ratio: part of the identities to take, drawn at random (Fig. 6).
        seed: of that draw; a larger part holds every smaller one.

    Returns:
        The manifest, without tracklets: an image may have moved to another one.

    Raises:
        ValueError: a ratio that leaves nobody.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"path": list("abc"), "split": "unlabeled"})
        >>> identity_manifest(Manifest(table, Path("/data")), np.array([4, -1, 4]), 1.0, 0).pids.tolist()
        [4, 4]
    """
    people = np.unique(identity[identity >= 0])
    number = round(ratio * len(people))
    if not 0 < number <= len(people):
        raise ValueError(
            f"data.ratio={ratio} of {len(people)} identities leaves {number}: expected a ratio in (0, 1]"
        )
    chosen = people[permutation(len(people), seed, 3)[:number]]
    table = videos.table.assign(pid=identity, tracklet=UNKNOWN, split="train")
    return Manifest(table, videos.root, videos.name).where(np.isin(identity, chosen))
