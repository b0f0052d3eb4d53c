"""Regions cut on the fly from the masks that `reid-lse extract` kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.utils.data import Dataset

from reid_lse.files import read_image
from reid_lse.job import read_settings
from reid_lse.keypoint_files import NAMES_FIELD
from reid_lse.regions import REGION_SIZE, Fill, check_fill, crop_regions
from reid_lse.results import Found
from reid_lse.rle import decode_mask
from reid_lse.shards import SCHEMA

SHORT_RUNS = pa.list_(pa.list_(pa.uint16()))
"""Run lengths in half the memory; runs of an image of up to 65535 pixels fit."""


class SavedMasks:
    """The masks that an extraction kept: a row per image, in the order in which the images were given.

    The run lengths are held in memory, compressed as they are: some hundred bytes per image;
    forked processes share them.

    Args:
        folder: what `reid-lse extract` wrote.
        areas: names of those wanted, in order; all by default.

    Attributes:
        root: folder of the images when they were segmented.
        areas: the areas' names.
        names: the keypoints' names.
        shards: the files' tables.

    Raises:
        FileNotFoundError: the folder holds no extraction, or one that isn't finished.
        ValueError: its settings or shards are damaged, or it has no such area.
    """

    def __init__(self, folder: str | Path, areas: Sequence[str] | None = None) -> None:
        settings = read_settings(folder)
        files = sorted(Path(folder).glob("masks-*.parquet"))
        needed = -(-settings["images"] // settings["shard"])
        if len(files) < needed:
            raise FileNotFoundError(
                f"{folder} holds {len(files)} of {needed} shards: call `reid-lse extract` again to finish it"
            )
        try:
            self.shards = [_read_shard(file) for file in files]
            self.names = tuple(json.loads((self.shards[0].schema.metadata or {})[NAMES_FIELD]))
        except (pa.ArrowException, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{folder}: holds damaged shards of masks ({error!r}); extract again") from error
        self.size, self.per_shard = settings["images"], settings["shard"]
        self.root, there = Path(settings["root"]), list(settings["areas"])
        self.areas = tuple(there if areas is None else areas)
        if missing := [area for area in self.areas if area not in there]:
            raise ValueError(f"{folder} has masks of {', '.join(there)}, none of {missing[0]}: extract again")
        self.chosen = [there.index(area) for area in self.areas]

    def __len__(self) -> int:
        return int(self.size)

    def find(self, paths: Sequence[str]) -> np.ndarray:
        """Rows of images, int64 [n]; -1 where there is none of that path.

        Args:
            paths: of images, relative to the root, [n].
        """
        there = pa.chunked_array(
            [chunk for table in self.shards for chunk in table["path"].chunks], pa.string()
        )
        rows = pc.index_in(pa.array(paths, pa.string()), value_set=there)
        return rows.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)

    @property
    def unreadable(self) -> list[str]:
        """Paths of the images that could not be read."""
        return [
            path
            for table in self.shards
            for path in table.filter(pc.is_valid(table["error"]))["path"].to_pylist()
        ]

    def __getitem__(self, index: int) -> Found | None:
        """What was found in an image; None where it could not be read."""
        shard, row = divmod(range(len(self))[index], self.per_shard)
        about = self.shards[shard].slice(row, 1).to_pylist()[0]
        if about["error"] is not None:
            return None
        size = about["height"], about["width"]
        masks = np.stack([decode_mask(np.asarray(about["masks"][area]), *size) for area in self.chosen])
        valid, quality = (np.array(about[name])[self.chosen] for name in ("valid", "quality"))
        return Found(about["path"], masks, valid, quality, np.array(about["keypoints"]).reshape(-1, 3))


def _read_shard(file: Path) -> pa.Table:
    table = pq.read_table(file).select(SCHEMA.names)
    masks = table.schema.get_field_index("masks")
    try:
        return table.set_column(masks, "masks", table["masks"].cast(SHORT_RUNS))
    except pa.ArrowInvalid:  # a longer run
        return table


class RegionDataset(Dataset[dict[str, Any]]):
    """The regions of every image that an extraction has masks of.

    Args:
        folder: what `reid-lse extract` wrote.
        root: folder of the images; by default the one they were in when extracted.
        size: height and width of the regions in pixels.
        fill: pixels outside the masks; see `crop_regions`.
        transform: applied to the regions, uint8 [a 3 h w].

    Attributes:
        areas: the areas' names.
        names: the keypoints' names.
        paths: of the images, relative to root.

    Raises:
        FileNotFoundError: the folder holds no extraction, or one that isn't finished.
    """

    def __init__(
        self,
        folder: str | Path,
        root: str | Path | None = None,
        size: tuple[int, int] = REGION_SIZE,
        fill: Fill = "zero",
        transform: Callable[[Tensor], Any] | None = None,
    ) -> None:
        check_fill(fill)
        self.saved = SavedMasks(folder)
        readable = [pc.is_null(table["error"]) for table in self.saved.shards]
        self.rows = np.flatnonzero(np.concatenate([mask.to_numpy() for mask in readable]))
        self.paths = pa.chunked_array(
            [
                chunk
                for table, mask in zip(self.saved.shards, readable, strict=True)
                for chunk in table["path"].filter(mask).chunks
            ],
            pa.string(),
        )
        self.root = self.saved.root if root is None else Path(root)
        self.areas, self.names = self.saved.areas, self.saved.names
        self.size, self.fill, self.transform = size, fill, transform

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The regions of one image.

        Returns:
            regions uint8 [a 3 h w] (or what the transform makes of them), valid bool [a], quality float32
            [a], keypoints float32 [k 3] in pixels of the image, and index.

        Raises:
            UnreadableImage: the image can't be decoded any more.
            OSError: it is gone, or the storage failed.
            ValueError: it has another size than when its masks were made.
        """
        found = self._result(index)
        path = self.root / found.name
        image = read_image(path)
        height, width = found.masks.shape[1:]
        if image.shape[1:] != (height, width):
            raise ValueError(
                f"{path} is {image.shape[1]} x {image.shape[2]}, but its masks are {height} x {width}; "
                "extract it again"
            )
        masks = torch.from_numpy(found.masks & found.valid[:, None, None])
        regions, valid = crop_regions(image, masks, self.size, self.fill)
        return {
            "regions": regions if self.transform is None else self.transform(regions),
            "valid": valid,
            "quality": torch.from_numpy(found.quality).float(),
            "keypoints": torch.from_numpy(found.keypoints).float(),
            "index": index,
        }

    def results(self) -> Iterator[Found]:
        """What was found in each image, without reading the images."""
        return map(self._result, range(len(self)))

    def _result(self, index: int) -> Found:
        found = self.saved[int(self.rows[index])]
        assert found is not None  # one of the rows without an error
        return found
