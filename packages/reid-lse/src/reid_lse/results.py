"""What was found in crops, and as what it leaves: tables, label maps, detections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from torch import Tensor

if TYPE_CHECKING:
    from supervision import Detections

LABELS = 255
"""Areas that fit into a label map beside the background."""


class Found(NamedTuple):
    """What was found in one crop.

    Attributes:
        name: of the crop, such as its path.
        masks: bool [a h w].
        valid: bool [a].
        quality: float [a].
        keypoints: float [k 3].
    """

    name: str
    masks: np.ndarray
    valid: np.ndarray
    quality: np.ndarray
    keypoints: np.ndarray


@dataclass(frozen=True, eq=False)
class Regions:
    """What was found in a batch of crops, on the CPU.

    Attributes:
        masks: bool [b a h w]; crops of different sizes are padded with False at the right and the bottom.
        crops: uint8 [b a 3 h' w'], the regions of Eq. 5.
        valid: bool [b a]; False where an area was not found or its mask is not to be trusted; its region is
            fill alone.
        keypoints: float32 [b k 3], x and y in pixels, confidence.
        quality: float32 [b a] from 0 to 1, an estimate of each mask's IoU with the truth; see `mask_quality`.
        areas: the areas' names, [a].
        names: the keypoints' names, [k].
        sizes: height and width of each crop in pixels, [b].
    """

    masks: Tensor
    crops: Tensor
    valid: Tensor
    keypoints: Tensor
    quality: Tensor
    areas: tuple[str, ...]
    names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]

    def results(self, names: Sequence[str] | None = None) -> Iterator[Found]:
        """Each crop's results, its padding cut off.

        Args:
            names: of the crops, such as their paths; their numbers by default.

        Raises:
            ValueError: another number of names than crops.
        """
        names = [str(row) for row in range(len(self.sizes))] if names is None else names
        if len(names) != len(self.sizes):
            raise ValueError(f"expected {len(self.sizes)} names, one for each crop, got {len(names)}")
        for row, (name, (height, width)) in enumerate(zip(names, self.sizes, strict=True)):
            masks = self.masks[row, :, :height, :width].numpy()
            rest = (side[row].numpy() for side in (self.valid, self.quality, self.keypoints))
            yield Found(name, masks, *rest)

    def table(self, names: Sequence[str] | None = None) -> pd.DataFrame:
        """One row per crop and area; see `area_table`.

        Example:
            >>> import torch
            >>> from reid_lse import LocalSemanticExtractor
            >>> regions = LocalSemanticExtractor()(torch.randint(256, (2, 3, 64, 32), dtype=torch.uint8))
            >>> regions.table()[["name", "area"]].values.tolist()[:2]
            [['0', 'head'], ['0', 'torso']]
        """
        return area_table(self.results(names), self.areas)

    def label_maps(self, labels: Mapping[str, int] | None = None) -> list[np.ndarray]:
        """The label map of each crop, uint8 [h w]; see `label_map`."""
        return [label_map(found, self.areas, labels) for found in self.results()]

    def detections(self, row: int) -> Detections:
        """One crop's valid areas as supervision's Detections; see `to_detections`."""
        return to_detections(list(self.results())[row], self.areas)


def boxes_of(masks: np.ndarray) -> np.ndarray:
    """Tight boxes around masks: left, top, right, bottom in pixels, the last two past the mask.

    Args:
        masks: bool [a h w].

    Returns:
        float32 [a 4], zeros for empty masks.

    Example:
        >>> mask = np.zeros((1, 5, 4), bool)
        >>> mask[0, 1:3, 2:4] = True
        >>> boxes_of(mask).tolist()
        [[2.0, 1.0, 4.0, 3.0]]
    """
    boxes = np.zeros((len(masks), 4), np.float32)
    for area in np.flatnonzero(masks.any(axis=(1, 2))):
        rows, columns = (np.flatnonzero(masks[area].any(axis=axis)) for axis in (1, 0))
        boxes[area] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes


def area_table(found: Iterator[Found], areas: Sequence[str]) -> pd.DataFrame:
    """One row per crop and area.

    Args:
        found: of each crop.
        areas: the areas' names.

    Returns:
        Columns name, area, valid, quality, share (of the crop's pixels), left, top, right, bottom in pixels.
    """
    rows: list[dict[str, Any]] = []
    for crop in found:
        shares = crop.masks.mean(axis=(1, 2))
        boxes = boxes_of(crop.masks)
        for area, name in enumerate(areas):
            box = dict(zip(("left", "top", "right", "bottom"), boxes[area].tolist(), strict=True))
            rows.append(
                {
                    "name": crop.name,
                    "area": name,
                    "valid": bool(crop.valid[area]),
                    "quality": float(crop.quality[area]),
                    "share": float(shares[area]),
                    **box,
                }
            )
    return pd.DataFrame(rows)


def label_map(found: Found, areas: Sequence[str], labels: Mapping[str, int] | None = None) -> np.ndarray:
    """A label for each pixel, as parsing data sets such as LIP have it; 0 is background.

    Invalid areas have no pixels. Where areas overlap, the one of higher quality has the pixel.

    Args:
        found: of one crop.
        areas: the areas' names.
        labels: the label of each area; by default 1, 2, ... in the order of areas.

    Returns:
        uint8 [h w].

    Raises:
        ValueError: an area without a label, a label that is not from 1 to 255.

    Example:
        >>> masks = np.array([[[True, True]], [[False, True]]])
        >>> one = Found("a", masks, np.array([True, True]), np.array([0.9, 0.5]), np.zeros((17, 3)))
        >>> label_map(one, ("head", "torso")).tolist()
        [[1, 1]]
        >>> label_map(one, ("head", "torso"), {"head": 13, "torso": 5}).tolist()
        [[13, 13]]
    """
    labels = {name: number for number, name in enumerate(areas, start=1)} if labels is None else labels
    wrong = [name for name in areas if not 1 <= labels.get(name, 0) <= LABELS]
    if wrong:
        raise ValueError(f"labels must give each area a number from 1 to {LABELS}, got none for {wrong[0]!r}")
    label = np.zeros(found.masks.shape[1:], np.uint8)
    for area in np.argsort(found.quality, kind="stable"):
        if found.valid[area]:
            label[found.masks[area]] = labels[areas[area]]
    return label


def to_detections(found: Found, areas: Sequence[str]) -> Detections:
    """The valid areas of a crop as supervision's Detections: boxes, masks, quality as the confidence.

    Args:
        found: of one crop.
        areas: the areas' names, in whose order classes are numbered.

    Raises:
        ImportError: supervision is not installed (extra `supervision`).
    """
    try:
        from supervision import Detections
    except ImportError as error:
        raise ImportError("detections need supervision: pip install supervision") from error
    kept = np.flatnonzero(found.valid)
    return Detections(
        xyxy=boxes_of(found.masks[kept]),
        mask=found.masks[kept],
        confidence=found.quality[kept].astype(np.float32),
        class_id=kept,
        data={"class_name": np.array(areas)[kept]},
    )
