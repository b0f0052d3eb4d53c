"""Shards of masks and keypoints: how one is made of its images, and what its Parquet file holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reid_lse.atomic import atomic
from reid_lse.extraction import Extraction
from reid_lse.files import Images, UnreadableImage
from reid_lse.keypoint_files import NAMES_FIELD, KeypointTable, read_keypoints
from reid_lse.lse import LocalSemanticExtractor
from reid_lse.models import build_keypoints, build_segmenter
from reid_lse.regions import large_enough
from reid_lse.rle import encode_mask
from reid_lse.segmenters.crf import CRFSegmenter
from reid_lse.segmenters.grabcut import grabcut
from reid_lse.threads import one_blas_thread

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("keypoints", pa.list_(pa.float32())),  # x, y in pixels, confidence of each
        ("masks", pa.list_(pa.list_(pa.uint32()))),  # run lengths of each area, see rle.py
        ("valid", pa.list_(pa.bool_())),  # of each area
        ("quality", pa.list_(pa.float32())),
        ("error", pa.string()),  # why there are no masks; null where there are
    ]
)
"""One row per image, in the order of the images; the metadata names the keypoints."""


UNREACHABLE = "unreachable: "
"""How the error of an image begins that the storage did not give: it is tried again on the next call."""
MOST_AWAY = 64
"""Images in a row that can't be reached: then it is the storage that fails, and the work stops."""
KEYPOINT_FILES = (".json", ".parquet")


def known_keypoints(extraction: Extraction) -> KeypointTable | None:
    """The keypoints of a file, where the extraction names a file."""
    is_file = extraction.keypoints.endswith(KEYPOINT_FILES)
    return read_keypoints(extraction.keypoints) if is_file else None


def build_extractor(extraction: Extraction, known: KeypointTable | None = None) -> LocalSemanticExtractor:
    """The extractor with its models loaded.

    Args:
        extraction: how masks are made.
        known: keypoints of a file, in whose place no predictor is built.

    Raises:
        OSError: weights that can't be read or fetched.
        ImportError: an extra is not installed.
        ValueError: an unknown name, an option that doesn't fit.
    """
    options = extraction.keypoint_options
    return LocalSemanticExtractor(
        keypoints=known or build_keypoints(extraction.keypoints, extraction.device, **options),
        segmenter=build_segmenter(extraction.segmenter, extraction.device, **extraction.segmenter_options),
        areas=extraction.areas,
        thresholds=extraction.threshold,
        literal=extraction.literal,
        min_quality=extraction.min_quality,
    )


@dataclass(frozen=True, eq=False)
class Job:
    """The images to segment, how, and how many at once.

    Args:
        images: what to segment.
        extraction: how.
        batch: images that are segmented together.
        workers: threads that read images; GrabCut works in them too.
        shard: images per shard.
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

    def size(self, shard: int) -> int:
        """Number of images in a shard."""
        return len(self.images.paths[shard * self.shard : (shard + 1) * self.shard])


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
        self.known = known_keypoints(job.extraction)
        self.extractor = build_extractor(job.extraction, self.known)
        self.schema = SCHEMA.with_metadata({NAMES_FIELD: json.dumps(self.extractor.names)})
        # A model works on one batch while others are read; these two have no device to share.
        segment = self.extractor.segment
        shared = segment is grabcut or isinstance(segment, CRFSegmenter)
        self.turn = nullcontext() if shared else Lock()

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
        # Around all threads, so that none that ends gives the others more.
        with one_blas_thread(), ThreadPoolExecutor(job.workers) as threads:
            try:
                for done in threads.map(self._rows, batches):
                    rows += done
                    report(len(done))
                    check_storage(job.images, rows)
            except OSError:
                threads.shutdown(cancel_futures=True)  # each of the others would wait for the storage too
                raise
        return pa.Table.from_pylist(rows, schema=self.schema)

    def make_numbered(self, shard: int) -> tuple[int, pa.Table]:
        """A shard's number with its table, for results that come in any order."""
        return shard, self.make(shard)

    def _rows(self, paths: list[str]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = [{"path": path} for path in paths]
        images, places = [], []
        for place, path in enumerate(paths):
            file = f"{self.job.images.root}/{path}"
            try:
                images.append(self.job.images.read(file))
                places.append(place)
            except UnreadableImage as error:
                rows[place]["error"] = str(error).removeprefix(f"{file}: ")
            except OSError as error:
                rows[place]["error"] = f"{UNREACHABLE}{error.strerror or error}"
        if not images:
            return rows
        names = [paths[place] for place in places]
        known = self.known.of(names) if self.known else None
        with self.turn:
            found = self.extractor.masks(images, known, names)
        trusted = self.extractor.trust(found.quality).numpy()
        for row, place in enumerate(places):
            masks = found.masks[row].numpy()
            rows[place] |= {
                "height": masks.shape[1],
                "width": masks.shape[2],
                "keypoints": found.keypoints[row].flatten().tolist(),
                "masks": [encode_mask(mask) for mask in masks],
                "valid": (large_enough(masks) & trusted[row]).tolist(),
                "quality": found.quality[row].tolist(),
            }
        return rows


def check_storage(images: Images, rows: Sequence[Mapping[str, Any]]) -> None:
    """Stop rather than keep as a result that the storage was away.

    Args:
        images: where they should be.
        rows: of a shard, so far.

    Raises:
        OSError: the root is gone, or so many images in a row can't be reached.
    """
    away = [str(row.get("error", "")).startswith(UNREACHABLE) for row in rows]
    if any(away) and not images.root.exists():
        raise FileNotFoundError(f"{images.root} is gone: the same command resumes when it is back")
    longest = max((len(list(group)) for is_away, group in groupby(away) if is_away), default=0)
    if longest >= MOST_AWAY:
        first = rows[away.index(True)]
        raise OSError(
            f"{longest} images in a row can't be reached, the first {images.root}/{first['path']} "
            f"({first['error']}): see to the storage; the same command resumes"
        )


def shard_file(folder: Path, shard: int) -> Path:
    """The Parquet file of a shard."""
    return folder / f"masks-{shard:06d}.parquet"


def write_shard(table: pa.Table, path: Path) -> None:
    """Write a shard: it is there whole or not at all."""
    with atomic(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
