"""The denoise stage: features and tracklets -> identities, level by level, beside the truth if known."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from cion.pretraining.config import DenoiseConfig
from cion.pretraining.stages.features import FEATURES_FILE
from cion.pretraining.stages.identities import with_identities
from cion.pretraining.stages.tracklets import IDENTITIES_FILE, load_videos
from cion.pretraining.variants import LEVELS, RAW
from reid_core.data.manifest import UNKNOWN, Manifest
from reid_core.files import atomic, create_memmap, file_digest
from reid_core.models.features import valid_path
from reid_core.recipe import Job
from reid_denoise import Criteria, calibrate_criteria, center_by_camera, denoise, score, simultaneous

CENTERED_FILE = "centered.npy"
MOST_DISCARDED = 0.3
"""Share of the images; more says that the criteria are another extractor's."""
TITLES = {
    RAW: "tracklets as they come",
    "tracklet": "single-tracklet",
    "video": "single-video",
    "cross_video": "cross-video",
}


def find_identities(job: Job) -> dict[str, Any]:
    """Denoise up to each level (CION 3.2), print what it did, and save the identities.

    Args:
        job: its section is a `DenoiseConfig`; its folder gets LEVEL.npy, int64 [n], -1 for discarded images,
            and LEVEL.parquet, a manifest of the images that are kept, for data.identities of another run; a
            level is raw, the tracklets, too.

    Returns:
        "levels": level -> images, identities and, where the truth is known, pairwise precision, recall and
        f1; "criteria": those used; "discarded": share of the images that no identity kept; "parts": level ->
        digest of its identities.
    """
    section: DenoiseConfig = job.section
    videos = load_videos(job)
    table = videos.table
    features = job.inputs["features"] / FEATURES_FILE
    truth = job.inputs["tracklets"] / IDENTITIES_FILE
    rows = np.load(features, mmap_mode="r")
    valid = np.load(valid_path(features))
    tracklets, video = table["tracklet"].to_numpy(), table["video"].to_numpy()
    if section.center_cameras:
        rows = center_features(rows, valid, table, job.folder / CENTERED_FILE)
    criteria = Criteria(section.consistency, section.discrimination, section.half_range, section.metric)
    if section.criteria == "auto":
        criteria = choose_criteria(rows, valid, table, section)
    linking, work = section.linking, job.folder / "work"
    result = denoise(rows, tracklets, video, criteria, valid=valid, linking=linking, folder=work)
    found = {RAW: np.where(valid, tracklets, UNKNOWN)}
    found |= {str(level): identity for level, identity in result.levels.items()}
    parts = {name: _save_identities(job.folder, name, videos, identity) for name, identity in found.items()}
    (job.folder / CENTERED_FILE).unlink(missing_ok=True)
    people = np.load(truth) if truth.exists() else None
    levels = {name: _count_identities(identity, people) for name, identity in found.items()}
    for name, counts in levels.items():
        job.logger.metrics({f"{name}/{key}": value for key, value in counts.items()}, step=0)
    print_denoising(levels)
    discarded = 1 - levels[LEVELS[-1]]["images"] / max(1, levels[RAW]["images"])
    if discarded > MOST_DISCARDED and section.criteria == "given":
        print(
            f"denoise: consistency={criteria.consistency:.3g} discarded {discarded:.0%} of the images. The "
            "criteria belong to the extractor: let denoise.criteria=auto choose them for its features",
            file=sys.stderr,
        )
    about = {"criteria": asdict(criteria), "discarded": round(discarded, 4)}
    return {"levels": levels, **about, "parts": parts}


def center_features(features: np.ndarray, valid: np.ndarray, table: pd.DataFrame, out: Path) -> np.ndarray:
    """Features without what their cameras have in common, in a file.

    Args:
        features: float [n d].
        valid: bool [n].
        table: the manifest's, with tracklets and cameras.
        out: *.npy to write.

    Raises:
        ValueError: an image has no camera.
    """
    cameras = table["camid"].to_numpy()
    unknown = np.flatnonzero(cameras < 0)
    if len(unknown):
        raise ValueError(
            f"denoise.center_cameras: {table['path'].iat[unknown[0]]} has no camera ({len(unknown)} such "
            "images); give data.videos a manifest with the column camid, or leave it false"
        )
    centered = create_memmap(out, features.shape, features.dtype)
    return center_by_camera(features, table["tracklet"].to_numpy(), cameras, valid=valid, out=centered)


def choose_criteria(
    features: np.ndarray, valid: np.ndarray, table: pd.DataFrame, section: DenoiseConfig
) -> Criteria:
    """sigma_cst and sigma_drm for given features, without labels.

    Args:
        features: float [n d].
        valid: bool [n].
        table: the manifest's, with tracklets, videos and, where they are known, frames.
        section: range, metric and linking that will be used.
    """
    ids = [table[name].to_numpy() for name in ("tracklet", "video", "frame")]
    chosen = calibrate_criteria(
        features,
        ids[0],
        ids[1],
        valid=valid,
        cannot_link=simultaneous(*ids),
        linking=section.linking,
        half_range=section.half_range,
        metric=section.metric,
    )
    found, report = chosen.criteria, chosen.report
    print(
        f"denoise: consistency={found.consistency:.3g}, discrimination={found.discrimination:.3g} chosen by "
        f"{report.tracklets} tracklets ({report.source}); about {report.wrong:.1%} of their images are wrong",
        file=sys.stderr,
    )
    return found


def identity_file(folder: Path, level: str) -> Path:
    """Where the identities of a level lie.

    Args:
        folder: of the stage.
        level: raw, tracklet, video or cross_video.
    """
    return folder / f"{level}.npy"


def _save_identities(folder: Path, level: str, videos: Manifest, identity: np.ndarray) -> str:
    """Write a level's identities, and the rows that are kept; return the digest of the former."""
    file = identity_file(folder, level)
    with atomic(file) as temporary:
        np.save(temporary, identity)
    with_identities(videos, identity).save(file.with_suffix(".parquet"))
    return file_digest(file)


def _count_identities(identity: np.ndarray, truth: np.ndarray | None) -> dict[str, float]:
    """Numbers of images and identities, and pairwise precision, recall and F1 where the truth is known."""
    kept = identity[identity >= 0]
    counts: dict[str, float] = {"images": len(kept), "identities": len(np.unique(kept))}
    if truth is None:
        return counts
    scores = score(identity, truth)
    return counts | {key: round(getattr(scores, key), 4) for key in ("precision", "recall", "f1")}


def print_denoising(levels: Mapping[str, Mapping[str, Any]]) -> None:
    """Print what each level did.

    Args:
        levels: as `find_identities` returns them.
    """
    measures = [key for key in next(iter(levels.values())) if key not in ("images", "identities")]
    table = Table(title="Identities" + (", pairwise against the truth, %" if measures else ""))
    table.add_column("denoising", no_wrap=True)
    for heading in ("images", "identities", *measures):
        table.add_column(heading, justify="right")
    for level, values in levels.items():
        rates = [f"{100 * values[key]:.1f}" for key in measures]
        table.add_row(TITLES[level], f"{values['images']:,}", f"{values['identities']:,}", *rates)
    Console().print(table)
