"""A prior of where keypoints are: the predictor that needs no weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reid_lse.builder import Builder
from reid_lse.keypoint_sets import COCO_KEYPOINTS

PRIOR = {
    "nose": (0.000, 0.122, 0.70),
    "eye": (0.014, 0.107, 0.70),
    "ear": (0.028, 0.112, 0.70),
    "shoulder": (0.058, 0.217, 0.70),
    "elbow": (0.080, 0.357, 0.50),
    "wrist": (0.085, 0.482, 0.20),
    "hip": (0.042, 0.500, 0.70),
    "knee": (0.048, 0.705, 0.50),
    "ankle": (0.055, 0.905, 0.40),
}
"""An upright pedestrian who fills a crop: offset from the middle, distance from the top, both as shares of
the crop's height (people keep their proportions whatever the crop's width), and confidence. Head, shoulders
and hips hardly move from crop to crop, knees and ankles swing with the gait, wrists may be anywhere."""

STANDS_WITHIN = (0.05, 0.55)
"""Rows, as shares of the height, where head and torso stand out and legs do not yet swing."""

HEAD_WITHIN, HEAD_ASIDE = (0.03, 0.17), 0.05
"""Rows where the head is, and how far it may be aside of the person's middle, as shares of the height."""

FACE = 5
"""Keypoints of the face, the first ones."""

BORDER = 0.12
"""Columns at each side, as a share of the width, that show background more often than person."""

FARTHEST = 0.25
"""How far from the middle of the crop a person may be taken to stand, as a share of its width."""


@dataclass(frozen=True)
class PriorOptions:
    """The prior has no options."""


def prior(images: Sequence[Tensor]) -> Tensor:
    """Where keypoints of an upright pedestrian are: the weight-free default.

    Detectors cut people out at full height but not always in the middle. So the body moves sideways to where
    head and torso differ from the colours at the crop's borders, and the head a little further to where it
    does. Nothing else of the picture is used.

    Args:
        images: crops, uint8 [3 h w] each.

    Returns:
        float32 [b 17 3]: x, y in pixels, inside the crop, and a confidence by how certain the position is.

    Example:
        >>> nose, *_, ankle = prior(torch.zeros(1, 3, 128, 64, dtype=torch.uint8))[0]
        >>> [round(value, 2) for value in nose.tolist()]
        [32.0, 15.62, 0.7]
        >>> bool(ankle[2] < nose[2])
        True
    """
    shares = torch.tensor([_prior_of(name) for name in COCO_KEYPOINTS])
    keypoints = shares.repeat(len(images), 1, 1)
    for row, image in enumerate(images):
        height, width = image.shape[-2:]
        middle = _middle(image, STANDS_WITHIN)
        aside = max(-HEAD_ASIDE * height, min(HEAD_ASIDE * height, _middle(image, HEAD_WITHIN) - middle))
        keypoints[row, :, 0] = middle + shares[:, 0] * height
        keypoints[row, :FACE, 0] += aside
        keypoints[row, :, 0].clamp_(0, width - 1)
        keypoints[row, :, 1] = (shares[:, 1] * height).clamp(0, height - 1)
    return keypoints


def _middle(image: Tensor, within: tuple[float, float]) -> float:
    """Column where the person is within some rows: the centre of what differs from the borders' colours."""
    height, width = image.shape[-2:]
    edge = max(1, round(BORDER * width))
    top, bottom = (round(share * height) for share in within)
    rows = image[:, top : max(top + 1, bottom)].float()
    sides = torch.stack([rows[..., :edge].mean(dim=-1), rows[..., -edge:].mean(dim=-1)], dim=-1)
    # Near either side's colour is background enough: the two sides often differ (a wall, a lawn).
    strength = (rows[..., None] - sides[..., None, :]).abs().sum(dim=0).amin(dim=-1).square().sum(dim=0)
    if not strength.sum() > 0:
        return width / 2
    columns = torch.arange(width) + 0.5
    away = float((strength * columns).sum() / strength.sum()) - width / 2
    return width / 2 + max(-FARTHEST * width, min(FARTHEST * width, away))


def _prior_of(name: str) -> tuple[float, float, float]:
    side, _, part = name.rpartition("_")
    offset, top, confidence = PRIOR[part]
    # Seen from the front, the person's left is the picture's right.
    return (-offset if side == "right" else offset), top, confidence


BUILDER = Builder(PriorOptions, lambda name, options, device: prior)
