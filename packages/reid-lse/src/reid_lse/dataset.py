"""Regions cut on the fly from the masks that `reid-lse extract` kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
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


class RegionDataset(Dataset[dict[str, Any]]):
    """The regions of every image that an extraction has masks of.

    The run lengths of all masks are held in memory, compressed as they are: some hundred bytes an image.

    Args:
        folder: what `reid-lse extract` wrote.
        root: folder of the images; by default the one they were in when extracted.
        size: height and width of the regions in pixels.
        fill: what stands outside the masks; see `crop_regions`.
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
        settings = read_settings(folder)
        check_fill(fill)
        files = sorted(Path(folder).glob("masks-*.parquet"))
        needed = -(-settings["images"] // settings["shard"])
        if len(files) < needed:
            raise FileNotFoundError(
                f"{folder} holds {len(files)} of {needed} shards: call `reid-lse extract` again to finish it"
            )
        table = pa.concat_tables([pq.read_table(file) for file in files])
        self.table = table.filter(pc.is_null(table["error"])).combine_chunks()
        self.root = Path(settings["root"] if root is None else root)
        self.areas = tuple(settings["areas"])
        self.names = tuple(json.loads(table.schema.metadata[NAMES_FIELD]))
        self.paths = self.table["path"]
        self.size, self.fill, self.transform = size, fill, transform

    def __len__(self) -> int:
        return len(self.table)

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
        row = self._row(index)
        path = self.root / row["path"]
        image = read_image(path)
        height, width = row["height"], row["width"]
        if image.shape[1:] != (height, width):
            raise ValueError(
                f"{path} is {image.shape[1]} x {image.shape[2]}, but its masks are {height} x {width}; "
                "extract it again"
            )
        masks = _masks(row) & np.array(row["valid"])[:, None, None]
        regions, valid = crop_regions(image, torch.from_numpy(masks), self.size, self.fill)
        return {
            "regions": regions if self.transform is None else self.transform(regions),
            "valid": valid,
            "quality": torch.tensor(row["quality"]),
            "keypoints": torch.tensor(row["keypoints"]).reshape(-1, 3),
            "index": index,
        }

    def found(self) -> Iterator[Found]:
        """What was found in each image, without reading the images."""
        for index in range(len(self)):
            row = self._row(index)
            valid, quality = np.array(row["valid"]), np.array(row["quality"])
            yield Found(row["path"], _masks(row), valid, quality, np.array(row["keypoints"]).reshape(-1, 3))

    def _row(self, index: int) -> dict[str, Any]:
        return self.table.slice(range(len(self))[index], 1).to_pylist()[0]


def _masks(row: dict[str, Any]) -> np.ndarray:
    size = row["height"], row["width"]
    return np.stack([decode_mask(np.asarray(counts), *size) for counts in row["masks"]])
