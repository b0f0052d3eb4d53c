"""Shards of masks and keypoints: how one is made of its images, and what its Parquet file holds."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reid_lse.extraction import Extraction
from reid_lse.files import Images, UnreadableImage, read_image
from reid_lse.regions import large_enough
from reid_lse.rle import encode_mask
from reid_lse.segmenters import grabcut

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("keypoints", pa.list_(pa.float32())),  # 51 numbers: x, y in pixels, confidence
        ("masks", pa.list_(pa.list_(pa.uint32()))),  # run lengths an area, see rle.py
        ("valid", pa.list_(pa.bool_())),
        ("error", pa.string()),  # why there are no masks; null where there are
    ]
)
"""A row an image, in the order of the images."""


@dataclass(frozen=True, eq=False)
class Job:
    """The images to segment, how, and how many at once.

    Args:
        images: what to segment.
        extraction: how.
        batch: images that are segmented together.
        workers: threads that read images; GrabCut works in them too.
        shard: images a shard.
    """

    images: Images
    extraction: Extraction
    batch: int
    workers: int
    shard: int

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return -(-len(self.images.paths) // self.shard)


class ShardMaker:
    """Makes the shards of a job, with its models loaded once.

    Args:
        job: what to do.

    Raises:
        OSError: weights or keypoints that can't be read.
        ValueError: options that don't fit, images without known keypoints.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.known = job.extraction.known_keypoints()
        self.extractor = job.extraction.extractor()
        # A model works on one batch while others are read; GrabCut has no device to share.
        self.turn = nullcontext() if self.extractor.segment is grabcut else Lock()

    def make(self, shard: int, report: Callable[[int], None] = lambda images: None) -> pa.Table:
        """Segment one shard's images; the same shard gives the same table.

        Args:
            shard: its number.
            report: called with the number of images after each batch.

        Returns:
            A table of SCHEMA.
        """
        job = self.job
        paths = job.images.paths[shard * job.shard : (shard + 1) * job.shard]
        batches = [paths[at : at + job.batch] for at in range(0, len(paths), job.batch)]
        rows: list[dict[str, Any]] = []
        with ThreadPoolExecutor(job.workers) as threads:
            for done in threads.map(self._rows, batches):
                rows += done
                report(len(done))
        return pa.Table.from_pylist(rows, schema=SCHEMA)

    def numbered(self, shard: int) -> tuple[int, pa.Table]:
        """A shard's number with its table, for results that come in any order."""
        return shard, self.make(shard)

    def _rows(self, paths: list[str]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = [{"path": path} for path in paths]
        images, places = [], []
        for place, path in enumerate(paths):
            try:
                images.append(read_image(self.job.images.root / path))
                places.append(place)
            except UnreadableImage as error:
                rows[place]["error"] = str(error).removeprefix(f"{self.job.images.root / path}: ")
        if not images:
            return rows
        known = self.known.of([paths[place] for place in places]) if self.known else None
        with self.turn:
            _, masks, keypoints = self.extractor.masks(images, known)
        for place, areas, points in zip(places, masks, keypoints, strict=True):
            found = areas.numpy()
            rows[place] |= {
                "height": found.shape[1],
                "width": found.shape[2],
                "keypoints": points.flatten().tolist(),
                "masks": [encode_mask(mask) for mask in found],
                "valid": large_enough(found).tolist(),
            }
        return rows


def shard_file(folder: Path, shard: int) -> Path:
    """The Parquet file of a shard."""
    return folder / f"masks-{shard:06d}.parquet"


def write_shard(table: pa.Table, path: Path) -> None:
    """Write a shard under a temporary name, then rename it: it is there whole or not at all."""
    partial = path.with_suffix(f".{os.getpid()}.partial")
    pq.write_table(table, partial, compression="zstd")
    partial.replace(path)
