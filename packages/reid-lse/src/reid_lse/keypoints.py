"""Keypoints of a person crop, k = K(x) (Eq. 1 of VILLS): what predicts them, and what it returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from reid_lse.keypoint_sets import COCO_KEYPOINTS


class Pose(NamedTuple):
    """Keypoints, and where their predictor sees the person.

    Attributes:
        keypoints: float32 [b k 3], x and y in pixels of the crop, and the confidence from 0 to 1.
        person: float32 [h w] for each crop, the probability of each pixel to show the person; None where the
            predictor does not say.
    """

    keypoints: Tensor
    person: list[Tensor] | None = None


class KeypointPredictor(Protocol):
    """Anything from person crops to keypoints: a function, or a module with such a forward.

    An attribute `names`, the keypoints' names in order, says which set they are of; without one they are
    COCO's 17.
    """

    def __call__(self, images: Sequence[Tensor]) -> Tensor | Pose:
        """Predict the keypoints of each crop.

        Args:
            images: crops, uint8 [3 h w] each; sizes may differ. A uint8 tensor [b 3 h w] is such a sequence.

        Returns:
            float32 [b k 3]: x and y in pixels of the crop, and the confidence from 0 to 1; or a Pose.
        """
        ...


def keypoint_names(predictor: Any) -> tuple[str, ...]:
    """The names of the keypoints that a predictor gives.

    Example:
        >>> keypoint_names(lambda images: None)[0]
        'nose'
    """
    return tuple(getattr(predictor, "names", COCO_KEYPOINTS))


def check_keypoints(keypoints: Tensor, names: Sequence[str] = COCO_KEYPOINTS) -> None:
    """Raise unless keypoints are floating point [b k 3] of a set's keypoints."""
    if not isinstance(keypoints, Tensor) or not keypoints.is_floating_point():
        given = keypoints.dtype if isinstance(keypoints, Tensor) else type(keypoints).__name__
        raise TypeError(f"keypoints must be a floating point tensor [b {len(names)} 3], got {given}")
    if keypoints.ndim != 3 or keypoints.shape[1:] != torch.Size((len(names), 3)):
        order = "COCO's order" if tuple(names) == COCO_KEYPOINTS else f"the order {names[0]}, {names[1]}, ..."
        raise ValueError(
            f"keypoints must be [b {len(names)} 3] (x, y, confidence in {order}), "
            f"got shape {tuple(keypoints.shape)}"
        )
