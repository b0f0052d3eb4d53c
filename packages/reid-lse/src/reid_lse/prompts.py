"""Areas of the body, and which keypoints speak for and against each (Eqs. 2 and 4 of VILLS)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from reid_lse.keypoints import COCO_KEYPOINTS

HEAD = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
LEFT_ARM = ("left_shoulder", "left_elbow", "left_wrist")
RIGHT_ARM = ("right_shoulder", "right_elbow", "right_wrist")
LEFT_LEG = ("left_hip", "left_knee", "left_ankle")
RIGHT_LEG = ("right_hip", "right_knee", "right_ankle")
TORSO = LEFT_ARM + RIGHT_ARM + ("left_hip", "right_hip")

AREAS: dict[str, tuple[str, ...]] = {
    "head": HEAD,
    "torso": TORSO,
    "legs": LEFT_LEG + RIGHT_LEG,
    "left_arm": LEFT_ARM,
    "right_arm": RIGHT_ARM,
    "left_leg": LEFT_LEG,
    "right_leg": RIGHT_LEG,
    "upper": HEAD + TORSO,
    "lower": LEFT_LEG + RIGHT_LEG,
    "feet": ("left_ankle", "right_ankle"),
}
"""Named areas and their keypoints. A joint between areas belongs to both, as the hips to torso and legs."""

DEFAULT_AREAS = ("head", "torso", "legs")
"""The three areas VILLS extracts."""

DEFAULT_THRESHOLD = 0.3
"""tau^a of Eq. 4 on confidences from 0 to 1; the paper gives no number. It drops the prior's wrists."""

BOX_MARGIN = 0.08
"""Of a box prompt around the positives, as a share of the height of all prompted keypoints: a person's
outline lies about that far outside their joints."""

Areas = Sequence[str] | Mapping[str, Sequence[str]]
"""Names out of AREAS, or one's own areas with their keypoints."""


class Prompts(NamedTuple):
    """What a segmenter is asked, an area at a time.

    Attributes:
        positive: bool [b a 17], keypoints inside the area.
        negative: bool [b a 17], keypoints outside the area; never both.
    """

    positive: Tensor
    negative: Tensor


def named_areas(areas: Areas) -> dict[str, tuple[str, ...]]:
    """Areas with their keypoints' names, checked.

    Raises:
        ValueError: no area, an area twice, an unknown area or keypoint, an area without keypoints.

    Example:
        >>> named_areas({"shoulders": ("left_shoulder", "right_shoulder")})
        {'shoulders': ('left_shoulder', 'right_shoulder')}
    """
    if isinstance(areas, str):
        raise ValueError(f"areas must be a sequence of names, got the string {areas!r}; write ({areas!r},)")
    if not isinstance(areas, Mapping):
        unknown = [name for name in areas if name not in AREAS]
        if unknown:
            raise ValueError(
                f"unknown area {unknown[0]!r}; known are {', '.join(AREAS)}. "
                "For one of your own, pass a mapping from its name to its keypoints"
            )
        if len(set(areas)) < len(areas):
            raise ValueError(f"each area may be named once, got {tuple(areas)}")
        areas = {name: AREAS[name] for name in areas}
    if not areas:
        raise ValueError("areas is empty: name at least one area")
    for name, keypoints in areas.items():
        unknown = [keypoint for keypoint in keypoints if keypoint not in COCO_KEYPOINTS]
        if unknown:
            raise ValueError(
                f"area {name!r}: unknown keypoint {unknown[0]!r}; known are {', '.join(COCO_KEYPOINTS)}"
            )
        if not keypoints:
            raise ValueError(f"area {name!r} has no keypoints: give it at least one")
    return {name: tuple(keypoints) for name, keypoints in areas.items()}


def indicator(areas: Areas = DEFAULT_AREAS) -> Tensor:
    """v^a = 1_a(k), which keypoints lie in each area (Eq. 2 of VILLS): bool [a 17].

    Example:
        >>> indicator(("head",)).int().tolist()
        [[1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
    """
    rows = [[name in keypoints for name in COCO_KEYPOINTS] for keypoints in named_areas(areas).values()]
    return torch.tensor(rows, dtype=torch.bool)


def make_prompts(
    keypoints: Tensor,
    areas: Areas = DEFAULT_AREAS,
    thresholds: float | Mapping[str, float] = DEFAULT_THRESHOLD,
    literal: bool = False,
) -> Prompts:
    """v^a = 1_{s > tau^a and a}(k), the keypoints to prompt with (Eq. 4 of VILLS).

    An area's positives are its keypoints whose confidence is over tau^a. Its negatives are the other
    keypoints over their own area's threshold (the lowest, in several; tau^a, in none), and what is under a
    threshold is dropped: a keypoint that may be anywhere says neither yes nor no. Read literally, the
    indicator of Eq. 4 turns all that is not positive into a negative, its own dropped keypoints included.

    Args:
        keypoints: float [b 17 3], x, y, confidence.
        areas: names out of AREAS, or a mapping from names to keypoints.
        thresholds: tau^a, one for all areas or one an area by name.
        literal: Eq. 4 to the letter.

    Returns:
        Prompts(positive, negative), bool [b a 17].

    Raises:
        TypeError: keypoints that are not floating point.
        ValueError: keypoints of another shape, unknown areas, an area without threshold.

    Example:
        >>> keypoints = torch.ones(1, 17, 3)
        >>> keypoints[0, 0, 2] = 0.1
        >>> head = make_prompts(keypoints, ("head",))
        >>> head.positive.sum().item(), head.negative.sum().item()
        (4, 12)
        >>> make_prompts(keypoints, ("head",), literal=True).negative.sum().item()
        13
    """
    check_keypoints(keypoints)
    inside = indicator(areas).to(keypoints.device)
    tau = torch.tensor(check_thresholds(tuple(named_areas(areas)), thresholds), device=keypoints.device)
    confidence = keypoints[:, None, :, 2]
    positive = inside & (confidence > tau[:, None])
    if literal:
        return Prompts(positive, ~positive)
    own = torch.where(inside, tau[:, None], torch.inf).amin(dim=0)
    other_tau = torch.where(own.isinf(), tau[:, None], own)
    return Prompts(positive, ~inside & (confidence > other_tau))


def prompt_boxes(keypoints: Tensor, prompts: Prompts) -> Tensor:
    """Boxes around each area's positives, for segmenters that take a box beside the points.

    Args:
        keypoints: float [b 17 3].
        prompts: bool [b a 17] each.

    Returns:
        float [b a 4], left, top, right, bottom in the keypoints' pixels; zeros where an area has no positive.

    Example:
        >>> keypoints = torch.zeros(1, 17, 3)
        >>> keypoints[0, :3] = torch.tensor([[30.0, 10, 1], [32, 8, 1], [28, 8, 1]])
        >>> keypoints[0, 15] = torch.tensor([30.0, 108, 1])
        >>> prompt_boxes(keypoints, make_prompts(keypoints, ("head",))).tolist()
        [[[20.0, 0.0, 40.0, 18.0]]]
    """
    positive = prompts.positive[..., None]
    corners = keypoints[:, None, :, :2]
    used = (prompts.positive | prompts.negative).any(dim=1)
    y = keypoints[..., 1]
    tall = torch.where(used, y, -torch.inf).amax(dim=1) - torch.where(used, y, torch.inf).amin(dim=1)
    margin = BOX_MARGIN * tall[:, None, None]
    low = torch.where(positive, corners, torch.inf).amin(dim=2) - margin
    high = torch.where(positive, corners, -torch.inf).amax(dim=2) + margin
    return torch.where(positive.any(dim=2), torch.cat([low, high], dim=-1), 0.0)


def check_keypoints(keypoints: Tensor) -> None:
    """Raise unless keypoints are floating point [b 17 3]."""
    if not isinstance(keypoints, Tensor) or not keypoints.is_floating_point():
        given = keypoints.dtype if isinstance(keypoints, Tensor) else type(keypoints).__name__
        raise TypeError(f"keypoints must be a floating point tensor [b 17 3], got {given}")
    if keypoints.ndim != 3 or keypoints.shape[1:] != (len(COCO_KEYPOINTS), 3):
        raise ValueError(
            f"keypoints must be [b {len(COCO_KEYPOINTS)} 3] (x, y, confidence in COCO's order), "
            f"got shape {tuple(keypoints.shape)}"
        )


def check_thresholds(names: tuple[str, ...], thresholds: float | Mapping[str, float]) -> list[float]:
    """tau^a of each area, in order; raises unless every area has one."""
    if not isinstance(thresholds, Mapping):
        return [float(thresholds)] * len(names)
    missing, unknown = set(names) - set(thresholds), set(thresholds) - set(names)
    if missing or unknown:
        raise ValueError(
            f"thresholds must name exactly the areas {names}: "
            f"missing {sorted(missing)}, unknown {sorted(unknown)}"
        )
    return [float(thresholds[name]) for name in names]
