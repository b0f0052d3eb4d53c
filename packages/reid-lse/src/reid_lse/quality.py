"""How far a mask can be trusted: an estimate of its IoU with the truth, from what speaks for it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from reid_lse.colour import Palette, count_colours, palette
from reid_lse.layout import Crop, crops_of
from reid_lse.prompts import Prompts
from reid_lse.threads import one_blas_thread

RING = 9
"""Pixels of the square, at working size, by which a mask is widened to see what lies beside it."""

INTERCEPT, OVERLAP, AGREEMENT = 0.86, -2.44, 2.44
"""Of the quality's log odds, fitted on synthetic people (benchmarks/lse_masks.py --fit)."""


def mask_quality(
    images: Sequence[Tensor], masks: Sequence[Tensor], keypoints: Tensor, prompts: Prompts
) -> Tensor:
    """Estimate each mask's IoU with the true area.

    sigmoid(b_0 + b_1 overlap + b_2 agreement): overlap is the Bhattacharyya coefficient between the colours
    in the mask and those in a ring of background around it, for an outline that no colour marks is a guess.
    agreement is the mask's IoU with the limbs between the area's keypoints, times the mean confidence of
    all keypoints, those dropped counted as zero.

    Args:
        images: crops, uint8 [3 h w] each.
        masks: bool [a h w] of each crop.
        keypoints: float [b k 3].
        prompts: bool [b a k] each.

    Returns:
        float32 [b a], from 0 to 1; 0 for empty masks.

    Example:
        >>> from reid_lse import make_prompts, prior
        >>> image = torch.full((3, 128, 64), 60, dtype=torch.uint8)
        >>> image[:, 4:124, 22:42] = 200
        >>> keypoints = prior([image])
        >>> prompts = make_prompts(keypoints, ("upper",))
        >>> good, bad = torch.zeros(2, 1, 128, 64, dtype=torch.bool)
        >>> good[:, 4:64, 22:42] = True
        >>> bad[:, 4:64, :20] = True
        >>> (
        ...     mask_quality([image], [good], keypoints, prompts)
        ...     > mask_quality([image], [bad], keypoints, prompts)
        ... ).item()
        True
    """
    qualities = torch.zeros(len(images), prompts.positive.shape[1])
    with one_blas_thread():
        for row, crop in enumerate(crops_of(images, keypoints, prompts)):
            if crop is None:
                continue
            small = np.stack(
                [crop.shrink(mask.numpy().astype(np.float32)) >= 0.5 for mask in masks[row].cpu()]
            )
            sure = mean_confidence(keypoints, prompts, row)
            qualities[row] = torch.from_numpy(crop_quality(crop, small, palette(crop.pixels), sure))
    return qualities


def mean_confidence(keypoints: Tensor, prompts: Prompts, row: int) -> float:
    """Mean confidence of a crop's keypoints, those that prompt nothing counted as zero."""
    used = (prompts.positive[row] | prompts.negative[row]).any(dim=0)
    return float((keypoints[row, :, 2].float() * used).mean().clamp(0, 1))


def crop_quality(crop: Crop, masks: np.ndarray, colours: Palette, confidence: float) -> np.ndarray:
    """The quality of one crop's masks at working size; see `mask_quality`.

    Args:
        crop: with the layout of its areas.
        masks: bool [a h w].
        colours: of the crop.
        confidence: of `mean_confidence`.

    Returns:
        float32 [a].
    """
    limbs = (crop.layout.mine < 0) & (crop.layout.theirs > crop.layout.mine)
    union = np.count_nonzero(limbs | masks, axis=(1, 2))
    agreement = np.count_nonzero(limbs & masks, axis=(1, 2)) / np.maximum(1, union) * confidence
    background = ~masks.any(axis=0)
    quality = np.zeros(len(masks), np.float32)
    for area in np.flatnonzero(masks.any(axis=(1, 2))):
        wide = cv2.dilate(masks[area].astype(np.uint8), np.ones((RING, RING), np.uint8)) > 0
        overlap = _overlap(colours, masks[area], wide & background)
        odds = INTERCEPT + OVERLAP * overlap + AGREEMENT * agreement[area]
        quality[area] = 1 / (1 + np.exp(-odds))
    return quality


def _overlap(colours: Palette, inside: np.ndarray, outside: np.ndarray) -> float:
    """Bhattacharyya coefficient of the colours of two sets of pixels; 1 where one of them is empty."""
    if not (inside.any() and outside.any()):
        return 1.0
    cells = np.zeros(inside.size, np.int32)
    first, second = (
        count_colours(colours, side.ravel(), cells, 1)[0] @ colours.kinship for side in (inside, outside)
    )
    return float(np.sqrt(first * second).sum() / np.sqrt(first.sum() * second.sum()))
