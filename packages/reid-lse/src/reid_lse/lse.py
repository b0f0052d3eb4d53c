"""Local semantic extraction (VILLS, section 3.1): keypoints, prompts, masks and regions in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reid_lse.keypoints import KeypointPredictor, prior
from reid_lse.prompts import (
    DEFAULT_AREAS,
    DEFAULT_THRESHOLD,
    Areas,
    check_keypoints,
    make_prompts,
    named_areas,
)
from reid_lse.regions import REGION_SIZE, Fill, check_image, crop_regions
from reid_lse.segmenters import Segmenter, grabcut

KEYPOINTS: dict[str, KeypointPredictor] = {"prior": prior}
SEGMENTERS: dict[str, Segmenter] = {"grabcut": grabcut}


@dataclass(frozen=True, eq=False)
class Regions:
    """What was found in a batch of crops, on the CPU.

    Attributes:
        masks: bool [b a h w]; crops of different sizes are padded with False at the right and the bottom.
        crops: uint8 [b a 3 h' w'], the regions of Eq. 5.
        valid: bool [b a]; False where an area was not found, and its region is fill alone.
        keypoints: float32 [b 17 3], x and y in pixels, confidence.
    """

    masks: Tensor
    crops: Tensor
    valid: Tensor
    keypoints: Tensor


class LocalSemanticExtractor:
    """Semantically consistent regions of person crops: k = K(x), v^a, M(x, k, v^a) (Eqs. 1 to 5 of VILLS).

    Args:
        keypoints: "prior", or any KeypointPredictor.
        segmenter: "grabcut", or any Segmenter.
        areas: names out of AREAS, or a mapping from names to keypoints.
        size: height and width of the regions in pixels.
        thresholds: tau^a of Eq. 4, one for all or one an area.
        literal: Eq. 4 to the letter, low-confidence keypoints as negatives; see `make_prompts`.
        fill: what stands outside the masks in the regions, "zero" or "mean".

    Raises:
        ValueError: an unknown name of keypoints, segmenter, area or keypoint.

    Example:
        >>> extract = LocalSemanticExtractor()
        >>> regions = extract(torch.randint(256, (2, 3, 128, 64), dtype=torch.uint8))
        >>> regions.masks.shape, regions.crops.shape, regions.valid.shape
        (torch.Size([2, 3, 128, 64]), torch.Size([2, 3, 3, 128, 64]), torch.Size([2, 3]))
    """

    def __init__(
        self,
        keypoints: str | KeypointPredictor = "prior",
        segmenter: str | Segmenter = "grabcut",
        areas: Areas = DEFAULT_AREAS,
        size: tuple[int, int] = REGION_SIZE,
        thresholds: float | Mapping[str, float] = DEFAULT_THRESHOLD,
        literal: bool = False,
        fill: Fill = "zero",
    ) -> None:
        self.areas = named_areas(areas)
        self.predict: KeypointPredictor = _chosen(keypoints, KEYPOINTS, "keypoints")
        self.segment: Segmenter = _chosen(segmenter, SEGMENTERS, "segmenter")
        self.size = size
        self.thresholds = thresholds
        self.literal = literal
        self.fill: Fill = fill

    @torch.no_grad()
    def __call__(self, images: Tensor | Sequence[Tensor]) -> Regions:
        """Extract the regions of each crop.

        Args:
            images: uint8 [b 3 h w], or a list of uint8 [3 h w] whose sizes may differ.

        Returns:
            Regions, in the order of the images.

        Raises:
            TypeError: images that are not uint8 tensors.
            ValueError: no image, or one that is not RGB.
        """
        if isinstance(images, Tensor) and images.ndim != 4:
            raise ValueError(
                f"images must be [b 3 h w] or a list of [3 h w], got shape {tuple(images.shape)}"
            )
        if not len(images):
            raise ValueError("images is empty: give at least one crop")
        images = images if isinstance(images, Sequence) else list(images)
        for row, image in enumerate(images):
            check_image(image, f"images[{row}]")
        keypoints = self.predict(images).cpu()
        check_keypoints(keypoints)
        if len(keypoints) != len(images):
            raise ValueError(f"the keypoint predictor gave {len(keypoints)} rows for {len(images)} images")
        prompts = make_prompts(keypoints, self.areas, self.thresholds, self.literal)
        masks = [mask.cpu() for mask in self.segment(images, keypoints, prompts)]
        cut = [
            crop_regions(image, mask, self.size, self.fill) for image, mask in zip(images, masks, strict=True)
        ]
        crops, valid = (torch.stack(part) for part in zip(*cut, strict=True))
        return Regions(_padded(masks), crops, valid, keypoints.float())


def _padded(masks: list[Tensor]) -> Tensor:
    height, width = (max(mask.shape[axis] for mask in masks) for axis in (1, 2))
    padded = torch.zeros(len(masks), len(masks[0]), height, width, dtype=torch.bool)
    for row, mask in enumerate(masks):
        padded[row, :, : mask.shape[1], : mask.shape[2]] = mask
    return padded


def _chosen(choice, named, argument):  # type: ignore[no-untyped-def]
    if not isinstance(choice, str):
        return choice
    if choice not in named:
        raise ValueError(f"unknown {argument} {choice!r}; known are {', '.join(named)}, or pass a callable")
    return named[choice]
