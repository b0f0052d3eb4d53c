"""Unlabeled images and videos of several manifests as one pool, with readable stand-ins for broken files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

from reid_core.data.datasets import MAX_REPLACEMENTS
from reid_core.data.decoding import UnreadableImage, read_image
from reid_core.data.frames import nearest_readable
from reid_core.data.manifest import Manifest


class PoolPart(NamedTuple):
    """A manifest in a pool.

    Attributes:
        manifest: its rows; each path counts once.
        images: whether rows are images; beside `videos`, those of no tracklet.
        videos: whether tracklets are videos.
        repeat: times that the pool holds them, so that a small data set isn't drowned by a large one.
    """

    manifest: Manifest
    images: bool = True
    videos: bool = True
    repeat: int = 1


class Frame(NamedTuple):
    """A frame that could be read: its row in the pool, and uint8 [3 h w]."""

    row: int
    image: Tensor


class Pool(NamedTuple):
    """All rows that are trained on, and which of them are images and videos; `build_pool` makes one.

    Attributes:
        manifests: rows are numbered through them.
        starts: number of each manifest's first row.
        images: int64 [n], rows that are images.
        videos: rows of each video, in frame order.
        parts: number of each part's manifest.
    """

    manifests: list[Manifest]
    starts: np.ndarray
    images: np.ndarray
    videos: list[np.ndarray]
    parts: list[int]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(len(manifest) for manifest in self.manifests)

    def drawable_rows(self, number: int) -> np.ndarray:
        """Rows of a manifest that are an image or a video's frame, int64 [m], ascending.

        Args:
            number: of the manifest.
        """
        first, size = int(self.starts[number]), len(self.manifests[number])
        used = np.zeros(self.rows, dtype=bool)
        for rows in (self.images, *self.videos):
            used[rows] = True
        return np.flatnonzero(used[first : first + size])

    def place(self, row: int) -> tuple[int, int]:
        """Number of a row's manifest, and its row there.

        Args:
            row: number of the row in the pool.
        """
        part = int(np.searchsorted(self.starts, row, side="right")) - 1
        return part, row - int(self.starts[part])

    def file(self, row: int) -> str:
        """Absolute path of a row's image.

        Args:
            row: number of the row in the pool.
        """
        part, place = self.place(row)
        manifest = self.manifests[part]
        return os.path.join(manifest.root, manifest.table["path"].array[place])

    def read_image(self, index: int, unreadable: list[str]) -> Frame:
        """An image of the pool, or the next one that can be read.

        Args:
            index: in `images`.
            unreadable: gets the paths that could not be read.

        Raises:
            UnreadableImage: nor can the images after it be read.
        """
        for step in range(min(len(self.images), MAX_REPLACEMENTS)):
            row = int(self.images[(index + step) % len(self.images)])
            image = self._read(row, unreadable)
            if image is not None:
                return Frame(row, image)
        raise UnreadableImage(f"{unreadable[0]}: nor can the images after it be read; check the storage")

    def read_video(
        self, index: int, choose: Callable[[int], Sequence[int]], unreadable: list[str]
    ) -> list[Frame]:
        """Frames of a video, or of the next one that has a readable frame.

        Args:
            index: in `videos`.
            choose: from the length of a video to the positions wanted. In place of an unreadable frame comes
                the nearest readable one.
            unreadable: gets the paths that could not be read.

        Returns:
            One frame per position.

        Raises:
            UnreadableImage: nor can the videos after it be read.
        """
        for step in range(min(len(self.videos), MAX_REPLACEMENTS)):
            rows = self.videos[(index + step) % len(self.videos)]

            def read(position: int, rows: np.ndarray = rows) -> Frame | None:
                row = int(rows[position])
                image = self._read(row, unreadable)
                return None if image is None else Frame(row, image)

            frames = nearest_readable(len(rows), choose(len(rows)), read)
            if frames is not None:
                return frames
        raise UnreadableImage(f"{unreadable[0]}: nor can the videos after it be read; check the storage")

    def _read(self, row: int, unreadable: list[str]) -> Tensor | None:
        path = self.file(row)
        try:
            return read_image(path)
        except UnreadableImage:
            unreadable.append(path)
            return None


def build_pool(parts: Iterable[PoolPart]) -> Pool:
    """Join manifests to a pool; one that comes twice is held once.

    Args:
        parts: manifests, and what of each is trained on.

    Raises:
        ValueError: there is neither an image nor a video.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"path": list("abc"), "split": "unlabeled", "tracklet": [-1, 0, 0]})
        >>> pool = build_pool([PoolPart(Manifest(table, "/data"), repeat=2)])
        >>> pool.images.tolist(), [rows.tolist() for rows in pool.videos]
        ([0, 0], [[1, 2], [1, 2]])
    """
    manifests: list[Manifest] = []
    seen: dict[tuple[str, str], int] = {}
    numbers: list[int] = []
    images: list[np.ndarray] = [np.empty(0, dtype=np.int64)]
    videos: list[np.ndarray] = []
    for part in parts:
        manifest = part.manifest
        paths = manifest.table["path"]
        # Query and gallery may share images, and a picture must not weigh double. Arrow sees at once that
        # none are shared; pandas would make a Python string per row.
        if pc.count_distinct(pa.array(paths)).as_py() < len(paths):
            manifest = manifest.where(~paths.duplicated().to_numpy(dtype=bool))
        key = (manifest.digest, str(manifest.root))
        if key not in seen:
            seen[key] = len(manifests)
            manifests.append(manifest)
        numbers.append(seen[key])
        first = sum(map(len, manifests[: seen[key]]))
        tracklets = manifest.tracklets() if part.videos else []
        single = np.ones(len(manifest), dtype=bool)
        single[np.concatenate([*tracklets, images[0]])] = False
        images += [first + np.flatnonzero(single)] * (part.repeat if part.images else 0)
        videos += [first + rows for rows in tracklets] * part.repeat
    starts = np.cumsum([0, *map(len, manifests)])[:-1]
    pool = Pool(manifests, starts, np.concatenate(images), videos, numbers)
    if not len(pool.images) and not videos:
        raise ValueError("there is nothing to train on: no source has an image or a tracklet")
    return pool
