"""From an image and point prompts to one mask per area, x^{i,a} = M(x^i, k, v^a) (Eq. 3 of VILLS)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from reid_lse.prompts import Prompts


class Masks(NamedTuple):
    """Masks with their quality, for a segmenter that has already measured it as `mask_quality` does.

    Attributes:
        masks: bool [a h w] for each crop.
        quality: float32 [b a].
    """

    masks: list[Tensor]
    quality: Tensor


class Segmenter(Protocol):
    """Anything that turns crops and point prompts into masks: a function, or a module with such a forward.

    One with a further parameter `person` is also given the person masks of the keypoint predictor, float
    [h w] for each crop, or None where it gave none; one with `paths` the images' paths, or None.
    """

    def __call__(self, images: Sequence[Tensor], keypoints: Tensor, prompts: Prompts) -> list[Tensor] | Masks:
        """Segment every area of every crop (Eq. 3).

        Args:
            images: crops, uint8 [3 h w] each; sizes may differ.
            keypoints: float [b k 3], x, y in pixels, confidence.
            prompts: which keypoints are positive and negative for each area, bool [b a k].

        Returns:
            A mask per area for each crop: bool [a h w], all False where an area has no positive.
        """
        ...
