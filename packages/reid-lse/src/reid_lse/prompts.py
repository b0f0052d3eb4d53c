"""Areas of the body, and which keypoints speak for and against each (Eqs. 2 and 4 of VILLS)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from reid_lse.areas import DEFAULT_AREAS, DEFAULT_THRESHOLD, Areas, named_areas
from reid_lse.keypoint_sets import COCO_KEYPOINTS
from reid_lse.keypoints import check_keypoints

BOX_MARGIN = 0.08
"""Of a box prompt around the positives, as a share of the height of all prompted keypoints: a person's
outline lies about that far outside their joints."""


class Prompts(NamedTuple):
    """What a segmenter is asked, an area at a time.

    Attributes:
        positive: bool [b a k], keypoints inside the area.
        negative: bool [b a k], keypoints outside the area; never both.
        names: of the keypoints.
    """

    positive: Tensor
    negative: Tensor
    names: tuple[str, ...] = COCO_KEYPOINTS

    def cpu(self) -> Prompts:
        """The prompts on the CPU."""
        return self._replace(positive=self.positive.cpu(), negative=self.negative.cpu())

    def of(self, rows: Sequence[int]) -> Prompts:
        """The prompts of some crops."""
        return self._replace(positive=self.positive[rows], negative=self.negative[rows])


def indicator(areas: Areas = DEFAULT_AREAS, names: Sequence[str] = COCO_KEYPOINTS) -> Tensor:
    """v^a = 1_a(k), which keypoints lie in each area (Eq. 2 of VILLS): bool [a k].

    Example:
        >>> indicator(("head",)).int().tolist()
        [[1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
    """
    rows = [[name in keypoints for name in names] for keypoints in named_areas(areas, names).values()]
    return torch.tensor(rows, dtype=torch.bool)


def make_prompts(
    keypoints: Tensor,
    areas: Areas = DEFAULT_AREAS,
    thresholds: float | Mapping[str, float] = DEFAULT_THRESHOLD,
    literal: bool = False,
    names: Sequence[str] = COCO_KEYPOINTS,
) -> Prompts:
    """v^a = 1_{s > tau^a and a}(k), the keypoints to prompt with (Eq. 4 of VILLS).

    An area's positives are its keypoints whose confidence is over tau^a. Its negatives are the other
    keypoints over their own area's threshold (the lowest, in several; tau^a, in none), and what is under a
    threshold is dropped: a keypoint that may be anywhere says neither yes nor no. Read literally, the
    indicator of Eq. 4 turns all that is not positive into a negative, its own dropped keypoints included.

    Args:
        keypoints: float [b k 3], x, y, confidence.
        areas: names out of AREAS, or a mapping from names to keypoints.
        thresholds: tau^a, one for all areas or one an area by name.
        literal: Eq. 4 taken literally.
        names: of the keypoints; COCO's 17 by default.

    Returns:
        Prompts, bool [b a k].

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
    check_keypoints(keypoints, names)
    inside = indicator(areas, names).to(keypoints.device)
    tau = torch.tensor(
        check_thresholds(tuple(named_areas(areas, names)), thresholds), device=keypoints.device
    )
    confidence = keypoints[:, None, :, 2]
    positive = inside & (confidence > tau[:, None])
    if literal:
        return Prompts(positive, ~positive, tuple(names))
    own = torch.where(inside, tau[:, None], torch.inf).amin(dim=0)
    other_tau = torch.where(own.isinf(), tau[:, None], own)
    return Prompts(positive, ~inside & (confidence > other_tau), tuple(names))


def prompt_boxes(keypoints: Tensor, prompts: Prompts) -> Tensor:
    """Boxes around each area's positives, for segmenters that take a box beside the points.

    Args:
        keypoints: float [b k 3].
        prompts: bool [b a k] each.

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
