"""GrabCut as the segmenter (Rother et al., 2004): masks without weights, seeded along the limbs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from reid_lse.builder import Builder
from reid_lse.layout import Crop, Layout, crops_of
from reid_lse.prompts import Prompts

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


@dataclass(frozen=True)
class GrabCutOptions:
    """GrabCut has no options."""


def grabcut(images: Sequence[Tensor], keypoints: Tensor, prompts: Prompts) -> list[Tensor]:
    """Masks without weights: GrabCut (Rother et al., 2004) separates the person, the prompts share them out.

    All prompted keypoints, joined along the limbs, seed one person-against-background GrabCut on a reduced
    crop. Each person pixel goes to an area if the area's own limbs are nearer than those of its negatives.
    The same crop and prompts give the same masks, alone or in a batch.

    Args:
        images: crops, uint8 [3 h w] each.
        keypoints: float [b k 3].
        prompts: bool [b a k] each.

    Returns:
        bool [a h w] for each crop.

    Example:
        >>> from reid_lse import make_prompts, prior
        >>> images = torch.randint(256, (2, 3, 128, 64), dtype=torch.uint8)
        >>> keypoints = prior(images)
        >>> [tuple(masks.shape) for masks in grabcut(images, keypoints, make_prompts(keypoints))]
        [(3, 128, 64), (3, 128, 64)]
    """
    areas = prompts.positive.shape[1]
    return [
        torch.zeros(areas, *image.shape[1:], dtype=torch.bool)
        if crop is None
        else torch.from_numpy(_segment(crop))
        for image, crop in zip(images, crops_of(images, keypoints, prompts), strict=True)
    ]


def _segment(crop: Crop) -> np.ndarray:
    # Enlarging signed margins rather than masks keeps the outline smooth.
    person = crop.enlarge(np.where(_person(crop), 1, -1).astype(np.float32)) > 0
    masks = np.zeros((len(crop.asked), *crop.size), dtype=bool)
    for area in np.flatnonzero(crop.asked):
        masks[area] = person & (crop.enlarge(crop.layout.theirs[area] - crop.layout.mine[area]) > 0)
    return masks


def _person(crop: Crop) -> np.ndarray:
    """Person or background by GrabCut, with specks that touch no limb removed: bool [h w]."""
    silhouette = crop.layout.away.min(axis=0) < 0
    mask = _trimap(crop.layout, silhouette)
    person = (mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)
    if min(mask.shape) < SMALLEST or person.all() or not person.any():
        return person
    # OpenCV seeds its colour clusters from one random stream; a fixed start makes a crop's mask its own.
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    mask, *_ = cv2.grabCut(crop.pixels, mask, (0, 0, 0, 0), *models, ITERATIONS, cv2.GC_INIT_WITH_MASK)
    person = ((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)).astype(np.uint8)
    count, labels = cv2.connectedComponents(
        cv2.morphologyEx(person, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    )
    if count > 1:
        kept = np.isin(np.arange(count), np.unique(labels[silhouette]))
        kept[0] = False
        person = kept[labels]
    return person.astype(bool)


def _trimap(layout: Layout, silhouette: np.ndarray) -> np.ndarray:
    sure = layout.certainty > SURE_CONFIDENCE
    doubt = layout.certainty[:, None, None].astype(np.float32)
    # An uncertain keypoint may be further from where it is said to be, so its surroundings stay open.
    reach = (layout.away / (1.5 - 0.5 * doubt)).min(axis=0)
    trimap = np.full(silhouette.shape, cv2.GC_BGD, dtype=np.uint8)
    trimap[reach < UNLIKELY] = cv2.GC_PR_BGD
    trimap[silhouette] = cv2.GC_PR_FGD
    if sure.any():
        trimap[layout.away[sure].min(axis=0) < SURE] = cv2.GC_FGD
    # Sparse seeds are a soft prior: each pulls its neighbours a little; in true background it stays a speck.
    seeds = (layout.away + SLACK * (1 - doubt)).min(axis=0) < 0
    trimap[::SPARSE, ::SPARSE][seeds[::SPARSE, ::SPARSE]] = cv2.GC_FGD
    return trimap


BUILDER = Builder(GrabCutOptions, lambda name, options, device: grabcut)
