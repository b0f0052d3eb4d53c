"""Where keypoints and prompts expect the person and each area in a crop, before its pixels are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from torch import Tensor

from reid_lse.geometry import Piece, body, certainty, distances, limbs, sides
from reid_lse.keypoint_sets import coco_first
from reid_lse.prompts import Prompts

WORK_HEIGHT = 128
"""Rows at which masks are made: larger crops say little more of where a person ends, and time goes with the
pixels."""

FAR = 9.0
"""Distance, in the person's heights, to what a crop does not have."""


class Layout(NamedTuple):
    """Distances of each pixel, as shares of the person's height, negative inside.

    Attributes:
        away: float32 [s h w], to each of the person's limbs.
        certainty: float32 [s], the limbs' confidence.
        mine: float32 [a h w], to the nearest limb of each area.
        theirs: float32 [a h w], to the nearest limb that speaks against it.
    """

    away: np.ndarray
    certainty: np.ndarray
    mine: np.ndarray
    theirs: np.ndarray


class Crop(NamedTuple):
    """A crop at working size with what is asked about it.

    Attributes:
        pixels: uint8 [h w 3], RGB.
        layout: of its limbs and areas.
        size: height and width of the whole crop in pixels.
        asked: bool [a], the areas that have a positive.
    """

    pixels: np.ndarray
    layout: Layout
    size: tuple[int, int]
    asked: np.ndarray

    def shrink(self, values: np.ndarray) -> np.ndarray:
        """A map of the whole crop, [H W], at working size, [h w]."""
        rows, columns = self.pixels.shape[:2]
        if values.shape == (rows, columns):
            return values
        return np.asarray(cv2.resize(values, (columns, rows), interpolation=cv2.INTER_AREA))

    def enlarge(self, values: np.ndarray) -> np.ndarray:
        """A map at working size, float32 [h w], at the whole crop's, [H W]."""
        if values.shape == self.size:
            return values
        return np.asarray(cv2.resize(values, self.size[::-1], interpolation=cv2.INTER_LINEAR))


def crops_of(images: Sequence[Tensor], keypoints: Tensor, prompts: Prompts) -> list[Crop | None]:
    """Each crop at working size with its layout; None where no area has a positive.

    Args:
        images: uint8 [3 h w] each.
        keypoints: float [b k 3], x, y in pixels, confidence.
        prompts: bool [b a k] each.
    """
    # COCO's keypoints first; those that the set lacks (-1) get the column of zeros at the end.
    columns = np.array(coco_first(prompts.names))
    points = np.pad(keypoints.detach().cpu().float().numpy(), ((0, 0), (0, 1), (0, 0)))[:, columns]
    positive, negative = (
        np.pad(side.detach().cpu().numpy(), ((0, 0), (0, 0), (0, 1)))[..., columns]
        for side in (prompts.positive, prompts.negative)
    )
    return [_crop(*of_one) for of_one in zip(images, points, positive, negative, strict=True)]


def _crop(image: Tensor, points: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> Crop | None:
    asked: np.ndarray = np.any(positive, axis=1)
    if not asked.any():
        return None
    _, height, width = image.shape
    rows = min(height, WORK_HEIGHT)
    columns = max(1, round(width * rows / height))
    pixels = np.ascontiguousarray(image.detach().cpu().permute(1, 2, 0).numpy())
    if rows < height:
        pixels = np.asarray(cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_AREA))
    scale = np.array([columns / width, rows / height, 1], dtype=np.float32)
    small = (points * scale).astype(np.float32)
    plan = _layout(rows, columns, small.tobytes(), positive.tobytes(), negative.tobytes(), len(positive))
    return Crop(pixels, plan, (height, width), asked)


@lru_cache(maxsize=64)
def _layout(
    height: int, width: int, keypoints: bytes, positive: bytes, negative: bytes, areas: int
) -> Layout:
    """Cached because the prior gives every crop of one size the same keypoints."""
    points = np.frombuffer(keypoints, dtype=np.float32).reshape(-1, 3)
    inside = np.frombuffer(positive, dtype=bool).reshape(areas, -1)
    outside = np.frombuffer(negative, dtype=bool).reshape(areas, -1)
    person = body(points, np.logical_or(inside, outside).any(axis=0), height)
    parts = limbs(person)
    halves = [sides(person, inside[area], outside[area]) for area in range(areas)]
    pieces = list(dict.fromkeys([*parts, *(piece for pair in halves for side in pair for piece in side)]))
    away = distances(person, pieces, height, width)
    place = {piece: row for row, piece in enumerate(pieces)}

    def nearest(side: list[Piece]) -> np.ndarray:
        return away[[place[piece] for piece in side]].min(axis=0, initial=FAR)

    mine, theirs = (np.stack([nearest(pair[which]) for pair in halves]) for which in (0, 1))
    return Layout(away[: len(parts)], certainty(person, parts), mine, theirs)
