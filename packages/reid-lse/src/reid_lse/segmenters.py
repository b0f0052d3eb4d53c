"""From an image and point prompts to one mask an area, x^{i,a} = M(x^i, k, v^a) (Eq. 3 of VILLS)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from reid_lse.geometry import Body, body, distances, limbs, sides
from reid_lse.prompts import Prompts

WORK_HEIGHT = 128
"""Rows at which GrabCut works: larger crops say little more of where a person ends, and time goes with the
pixels."""

ITERATIONS = 1
"""GrabCut iterations; further ones move few pixels of a small crop."""

SURE_CONFIDENCE = 0.7
"""Keypoints this certain mark the core of their limbs as person beyond doubt."""

SURE, UNLIKELY = -0.03, 0.05
"""Distances from the limbs' surface as shares of the person's height: SURE inside is person beyond doubt, any
inside probably person, up to UNLIKELY outside probably background, further out background beyond doubt."""

SLACK = 0.05
"""How far inside, as a share of the person's height, seeds of a limb without any confidence begin."""

SPARSE = 2
"""Along limbs less certain, one pixel in SPARSE x SPARSE is a seed."""

SMALLEST = 8
"""Crops with a side below this many pixels have no colours to learn from; geometry alone speaks."""


class Segmenter(Protocol):
    """Anything that turns crops and point prompts into masks: a function, or a module with such a forward."""

    def __call__(self, images: Sequence[Tensor], keypoints: Tensor, prompts: Prompts) -> list[Tensor]:
        """Segment every area of every crop (Eq. 3).

        Args:
            images: crops, uint8 [3 h w] each; sizes may differ.
            keypoints: float [b 17 3], x, y in pixels, confidence.
            prompts: which keypoints are positive and negative for each area, bool [b a 17].

        Returns:
            A mask an area for each crop: bool [a h w], all False where an area has no positive.
        """
        ...


def grabcut(images: Sequence[Tensor], keypoints: Tensor, prompts: Prompts) -> list[Tensor]:
    """Masks without weights: GrabCut (Rother et al., 2004) separates the person, the prompts share them out.

    All prompted keypoints, joined along the limbs, seed one person-against-background GrabCut on a reduced
    crop. Each person pixel goes to an area if the area's own limbs are nearer than those of its negatives.
    The same crop and prompts give the same masks, alone or in a batch.

    Args:
        images: crops, uint8 [3 h w] each.
        keypoints: float [b 17 3].
        prompts: bool [b a 17] each.

    Returns:
        bool [a h w] for each crop.

    Example:
        >>> from reid_lse import make_prompts, prior
        >>> images = torch.randint(256, (2, 3, 128, 64), dtype=torch.uint8)
        >>> keypoints = prior(images)
        >>> [tuple(masks.shape) for masks in grabcut(images, keypoints, make_prompts(keypoints))]
        [(3, 128, 64), (3, 128, 64)]
    """
    points = keypoints.detach().cpu().float().numpy()
    positive, negative = (side.detach().cpu().numpy() for side in prompts)
    return [
        torch.from_numpy(_segment(image.detach().cpu().numpy(), points[row], positive[row], negative[row]))
        for row, image in enumerate(images)
    ]


class _Plan(NamedTuple):
    """All that follows from keypoints and prompts alone, at working size."""

    trimap: np.ndarray
    silhouette: np.ndarray
    margins: np.ndarray
    """float [a h w], above zero where the area's limbs are nearer than the others."""


def _segment(
    image: np.ndarray, keypoints: np.ndarray, positive: np.ndarray, negative: np.ndarray
) -> np.ndarray:
    _, height, width = image.shape
    if not positive.any():
        return np.zeros((len(positive), height, width), dtype=bool)
    rows = min(height, WORK_HEIGHT)
    columns = max(1, round(width * rows / height))
    scale = np.array([columns / width, rows / height, 1], dtype=np.float32)
    small = np.ascontiguousarray(image.transpose(1, 2, 0))
    if rows < height:
        small = cv2.resize(small, (columns, rows), interpolation=cv2.INTER_AREA)
    small_points = keypoints * scale
    plan = _plan(rows, columns, small_points.tobytes(), positive.tobytes(), negative.tobytes(), len(positive))
    person = _person(small, plan)
    # Enlarging signed margins rather than masks keeps the outline smooth.
    signed = np.where(person, 1.0, -1.0).astype(np.float32)
    if rows < height:
        signed = np.asarray(cv2.resize(signed, (width, height), interpolation=cv2.INTER_LINEAR))
    masks = np.zeros((len(positive), height, width), dtype=bool)
    for area in np.flatnonzero(positive.any(axis=1)):
        margin = plan.margins[area]
        if rows < height:
            margin = np.asarray(cv2.resize(margin, (width, height), interpolation=cv2.INTER_LINEAR))
        masks[area] = (signed > 0) & (margin > 0)
    return masks


def _person(small: np.ndarray, plan: _Plan) -> np.ndarray:
    """Person or background by GrabCut, with specks that touch no limb removed: bool [h w]."""
    mask = plan.trimap.copy()
    person = (mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)
    if min(mask.shape) < SMALLEST or person.all() or not person.any():
        return person
    # OpenCV seeds its colour clusters from one random stream; a fixed start makes a crop's mask its own.
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    mask, *_ = cv2.grabCut(small, mask, (0, 0, 0, 0), *models, ITERATIONS, cv2.GC_INIT_WITH_MASK)
    person = ((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)).astype(np.uint8)
    count, labels = cv2.connectedComponents(
        cv2.morphologyEx(person, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    )
    if count > 1:
        kept = np.isin(np.arange(count), np.unique(labels[plan.silhouette]))
        kept[0] = False
        person = kept[labels]
    return person.astype(bool)


@lru_cache(maxsize=64)
def _plan(height: int, width: int, keypoints: bytes, positive: bytes, negative: bytes, areas: int) -> _Plan:
    """Trimap and area margins. Cached because the prior gives every crop of one size the same keypoints."""
    points = np.frombuffer(keypoints, dtype=np.float32).reshape(-1, 3)
    inside = np.frombuffer(positive, dtype=bool).reshape(areas, -1)
    outside = np.frombuffer(negative, dtype=bool).reshape(areas, -1)
    used = np.logical_or(inside, outside).any(axis=0)
    person = body(points, used, height)
    parts = limbs(person)
    away = distances(parts, height, width) / person.height
    nearest = away.min(axis=0)
    sure = parts.confidence > SURE_CONFIDENCE
    # An uncertain keypoint may be further from where it is said to be, so its surroundings stay open.
    reach = (away / (1.5 - 0.5 * parts.confidence[:, None, None])).min(axis=0)
    trimap = np.full((height, width), cv2.GC_BGD, dtype=np.uint8)
    trimap[reach < UNLIKELY] = cv2.GC_PR_BGD
    trimap[nearest < 0] = cv2.GC_PR_FGD
    if sure.any():
        trimap[away[sure].min(axis=0) < SURE] = cv2.GC_FGD
    # Sparse seeds are a soft prior: each pulls its neighbours a little; in true background it stays a speck.
    seeds = (away + SLACK * (1 - parts.confidence[:, None, None])).min(axis=0) < 0
    trimap[::SPARSE, ::SPARSE][seeds[::SPARSE, ::SPARSE]] = cv2.GC_FGD
    margins = np.stack([_margin(person, inside[area], outside[area], height, width) for area in range(areas)])
    return _Plan(trimap, nearest < 0, margins)


def _margin(person: Body, inside: np.ndarray, outside: np.ndarray, height: int, width: int) -> np.ndarray:
    nearest = [
        distances(capsules, height, width).min(axis=0, initial=height + width)
        for capsules in sides(person, inside, outside)
    ]
    mine, theirs = nearest
    return (theirs - mine).astype(np.float32)
