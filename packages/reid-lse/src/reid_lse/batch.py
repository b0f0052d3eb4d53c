"""The batch job: every image's masks and keypoints into shards, to be killed and called again at any time."""

from __future__ import annotations

import os
from typing import NamedTuple

from reid_lse.extraction import Extraction

QUANTILES = (0.1, 0.5, 0.9)
"""Of the qualities that a summary tells."""


class Summary(NamedTuple):
    """What a finished extraction holds."""

    images: int
    unreadable: int
    shards: int
    found: dict[str, float]
    """Share of the readable images in which each area is valid."""
    quality: dict[str, tuple[float, ...]]
    """QUANTILES of each area's quality over the readable images."""


def extract(
    images: str,
    out: str,
    extraction: Extraction,
    batch: int = 64,
    workers: int | None = None,
    shard: int = 1024,
    ray: str | None = None,
) -> Summary:
    """Segment images and keep masks, keypoints and qualities, as Parquet files of a thousand images each.

    Called again after being cut off, it goes on after the last whole shard and ends with the same files.
    Images that can't be read are listed in errors.csv.

    Args:
        images: folder of images, or Parquet with a column path
        out: folder to write to
        extraction: how masks are made.
        batch: images that are segmented together
        workers: threads that read images, and that crf and grabcut work in; as many as cores by default
        shard: images per file
        ray: address of a Ray cluster to work on ("local" starts one here), which sees the images' folder too

    Returns:
        Summary of the whole extraction.

    Raises:
        FileNotFoundError: no such images, keypoints or weights.
        OSError: out can't be written.
        ValueError: options that don't fit, or out holds an extraction with other ones.
    """
    # Heavy imports wait until there is work, so that the command line answers at once.
    from reid_lse.files import list_images
    from reid_lse.job import run_job
    from reid_lse.shards import Job

    workers = workers or os.cpu_count() or 1
    for name, value in (("batch", batch), ("workers", workers), ("shard", shard)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    return Summary(*run_job(Job(list_images(images), extraction, batch, workers, shard), out, ray, QUANTILES))
