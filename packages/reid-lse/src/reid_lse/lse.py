"""Local semantic extraction (VILLS, section 3.1): keypoints, prompts, masks and regions in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reid_lse.keypoints import KeypointPredictor
from reid_lse.models import build_keypoints, build_segmenter
from reid_lse.prompts import (
    DEFAULT_AREAS,
    DEFAULT_THRESHOLD,
    Areas,
    check_keypoints,
    check_thresholds,
    make_prompts,
    named_areas,
)
from reid_lse.regions import REGION_SIZE, Fill, check_fill, check_image, crop_regions
from reid_lse.segmenters import Segmenter


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
        keypoints: "prior", "keypointrcnn_resnet50_fpn" (fetches torchvision's weights), or any
            KeypointPredictor; `build_keypoints` makes one with weights from a file.
        segmenter: "grabcut", "sam_vit_b", "sam_vit_l", "sam_vit_h" (fetch the official weights), or any
            Segmenter; `build_segmenter` makes one with weights from a file, packing or half precision.
        areas: names out of AREAS, or a mapping from names to keypoints.
        size: height and width of the regions in pixels.
        thresholds: tau^a of Eq. 4, one for all or one an area.
        literal: Eq. 4 to the letter, low-confidence keypoints as negatives; see `make_prompts`.
        fill: what stands outside the masks in the regions: "zero", "mean" or "blur"; see `crop_regions`.
        device: where predictor and segmenter run that are given by name.

    Raises:
        OSError: weights that can't be fetched.
        ValueError: an unknown name of keypoints, segmenter, area or keypoint, thresholds that don't fit.

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
        device: str = "cpu",
    ) -> None:
        self.areas = named_areas(areas)
        check_thresholds(tuple(self.areas), thresholds)
        check_fill(fill)
        self.predict = build_keypoints(keypoints, device=device) if isinstance(keypoints, str) else keypoints
        self.segment = build_segmenter(segmenter, device=device) if isinstance(segmenter, str) else segmenter
        self.size = size
        self.thresholds = thresholds
        self.literal = literal
        self.fill: Fill = fill

    @torch.no_grad()
    def __call__(self, images: Tensor | Sequence[Tensor], keypoints: Tensor | None = None) -> Regions:
        """Extract the regions of each crop.

        Args:
            images: uint8 [b 3 h w], or a list of uint8 [3 h w] whose sizes may differ.
            keypoints: float [b 17 3] if they are known already, as from `read_keypoints`; else predicted.

        Returns:
            Regions, in the order of the images.

        Raises:
            TypeError: images that are not uint8 tensors.
            ValueError: no image, or one that is not RGB.
        """
        images, masks, keypoints = self.masks(images, keypoints)
        cut = [
            crop_regions(image, mask, self.size, self.fill) for image, mask in zip(images, masks, strict=True)
        ]
        crops, valid = (torch.stack(part) for part in zip(*cut, strict=True))
        return Regions(_padded(masks), crops, valid, keypoints)

    @torch.no_grad()
    def masks(
        self, images: Tensor | Sequence[Tensor], keypoints: Tensor | None = None
    ) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """The masks alone (Eqs. 1 to 4), from which `crop_regions` cuts regions at any time.

        Args:
            images, keypoints: as for a call.

        Returns:
            The images as a list, bool [a h w] of each, and the keypoints, float32 [b 17 3].

        Raises:
            TypeError, ValueError: as a call.
        """
        if isinstance(images, Tensor) and images.ndim != 4:
            raise ValueError(
                f"images must be [b 3 h w] or a list of [3 h w], got shape {tuple(images.shape)}"
            )
        if not len(images):
            raise ValueError("images is empty: give at least one crop")
        images = list(images)
        for row, image in enumerate(images):
            check_image(image, f"images[{row}]")
        keypoints = (self.predict(images) if keypoints is None else keypoints).cpu()
        check_keypoints(keypoints)
        keypoints = keypoints.float()
        if len(keypoints) != len(images):
            raise ValueError(f"expected keypoints of {len(images)} images, got {len(keypoints)} rows")
        prompts = make_prompts(keypoints, self.areas, self.thresholds, self.literal)
        masks = [mask.cpu() for mask in self.segment(images, keypoints, prompts)]
        for row, (image, mask) in enumerate(zip(images, masks, strict=True)):
            if mask.shape != (len(self.areas), *image.shape[1:]):
                raise ValueError(
                    f"the segmenter gave masks {tuple(mask.shape)} for images[{row}], expected "
                    f"[a h w] = {(len(self.areas), *image.shape[1:])}, areas {tuple(self.areas)}"
                )
        return images, masks, keypoints


def _padded(masks: list[Tensor]) -> Tensor:
    height, width = (max(mask.shape[axis] for mask in masks) for axis in (1, 2))
    padded = torch.zeros(len(masks), len(masks[0]), height, width, dtype=torch.bool)
    for row, mask in enumerate(masks):
        padded[row, :, : mask.shape[1], : mask.shape[2]] = mask
    return padded
