"""The batch job: every image's masks and keypoints into shards, to be killed and called again at any time."""

from __future__ import annotations

from typing import NamedTuple

from reid_lse.extraction import Extraction

QUANTILES = (0.1, 0.5, 0.9)
"""Of the qualities that a summary tells."""


class Summary(NamedTuple):
    """What a finished extraction holds."""

    images: int
    """Of the shards that are there."""
    unreadable: int
    """Images without masks."""
    unreachable: int
    """Those of them that the storage did not give; the next call tries them again."""
    shards: int
    missing: int
    """Shards that other parts have still to make."""
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
    part: int = 0,
    parts: int = 1,
) -> Summary:
    """Segment images and keep masks, keypoints and qualities, as Parquet files of a thousand images each.

    Called again after being cut off, it resumes after the last whole shard and ends with the same files.
    Images that can't be read are listed in _errors.csv. It stops where the storage fails: where 64
    images in a row can't be reached, or their root is gone. Several processes, on one machine or many, can
    write to one folder (`parts`).

    Args:
        images: folder of images, or Parquet file with a column path
        out: folder to write to
        extraction: how masks are made.
        batch: images that are segmented together
        workers: threads that read images, and that crf and grabcut work in; as many as cores by default
        shard: images per Parquet file
        ray: address of a Ray cluster to work on, which sees the images' folder too; local starts one here
        part: number of this process, from 0, among those that share the work; it makes every parts-th file
        parts: number of processes that share the work

    Returns:
        Summary of what the folder then holds.

    Raises:
        FileNotFoundError: no such images, keypoints or weights.
        OSError: out can't be written.
        ValueError: options that don't fit, or out holds an extraction with other ones.
    """
    # Heavy imports wait until there is work, so that the command line answers at once.
    from reid_lse.files import list_images
    from reid_lse.job import extract_images

    return extract_images(list_images(images), out, extraction, batch, workers, shard, ray, part, parts)
