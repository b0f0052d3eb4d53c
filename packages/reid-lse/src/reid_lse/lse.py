"""Local semantic extraction (VILLS, section 3.1): keypoints, prompts, masks and regions in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from inspect import signature
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reid_lse.areas import DEFAULT_AREAS, DEFAULT_THRESHOLD, MIN_QUALITY, Areas, named_areas
from reid_lse.keypoint_files import KeypointTable
from reid_lse.keypoints import KeypointPredictor, Pose, check_keypoints, keypoint_names
from reid_lse.models import build_keypoints, build_segmenter
from reid_lse.prompts import Prompts, check_thresholds, make_prompts
from reid_lse.quality import mask_quality
from reid_lse.regions import REGION_SIZE, Fill, check_fill, check_image, crop_regions
from reid_lse.results import Regions
from reid_lse.segmentation import Masks, Segmenter


class Segmentation(NamedTuple):
    """Masks of a batch of crops before regions are cut, on the CPU.

    Attributes:
        images: the crops as a list.
        masks: bool [a h w] of each crop.
        keypoints: float32 [b k 3].
        quality: float32 [b a].
        prompts: what the segmenter was asked.
    """

    images: list[Tensor]
    masks: list[Tensor]
    keypoints: Tensor
    quality: Tensor
    prompts: Prompts


class LocalSemanticExtractor:
    """Semantically consistent regions of person crops: k = K(x), v^a, M(x, k, v^a) (Eqs. 1 to 5 of VILLS).

    Args:
        keypoints: a name such as "prior" or "blazepose", or any KeypointPredictor; `build_keypoints` makes
            one with options. With a KeypointTable, each call is given its keypoints.
        segmenter: a name such as "crf" or "sam_vit_b", or any Segmenter; `build_segmenter` makes one with
            options.
        areas: names out of AREAS, or a mapping from names to keypoints of the predictor's set.
        size: height and width of the regions in pixels.
        thresholds: tau^a of Eq. 4, one for all or one an area.
        literal: Eq. 4 taken literally, low-confidence keypoints as negatives; see `make_prompts`.
        fill: pixels outside the masks in the regions: "zero", "mean" or "blur"; see `crop_regions`.
        min_quality: areas whose quality is below are not valid; 0 keeps all that are found.
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
        keypoints: str | KeypointPredictor | KeypointTable = "prior",
        segmenter: str | Segmenter = "crf",
        areas: Areas = DEFAULT_AREAS,
        size: tuple[int, int] = REGION_SIZE,
        thresholds: float | Mapping[str, float] = DEFAULT_THRESHOLD,
        literal: bool = False,
        fill: Fill = "zero",
        min_quality: float = MIN_QUALITY,
        device: str = "cpu",
    ) -> None:
        check_fill(fill)
        self.predict: Any = build_keypoints(keypoints, device) if isinstance(keypoints, str) else keypoints
        self.names = keypoint_names(self.predict)
        self.areas = named_areas(areas, self.names)
        check_thresholds(tuple(self.areas), thresholds)
        self.segment: Any = build_segmenter(segmenter, device) if isinstance(segmenter, str) else segmenter
        self.min_quality = min_quality
        self.size = size
        self.thresholds = thresholds
        self.literal = literal
        self.fill: Fill = fill

    @torch.no_grad()
    def __call__(self, images: Tensor | Sequence[Tensor], keypoints: Tensor | Pose | None = None) -> Regions:
        """Extract the regions of each crop.

        Args:
            images: uint8 [b 3 h w], or a list of uint8 [3 h w] whose sizes may differ.
            keypoints: float [b k 3], or a Pose with person masks, if they are known already, as from
                `read_keypoints`; else predicted.

        Returns:
            Regions, in the order of the images.

        Raises:
            TypeError: images that are not uint8 tensors.
            ValueError: no image, or one that is not RGB.
        """
        found = self.masks(images, keypoints)
        trusted = self.trust(found.quality)[..., None, None]
        cut = [
            crop_regions(image, mask & keep, self.size, self.fill)
            for image, mask, keep in zip(found.images, found.masks, trusted, strict=True)
        ]
        crops, valid = (torch.stack(part) for part in zip(*cut, strict=True))
        return Regions(
            _pad(found.masks),
            crops,
            valid,
            found.keypoints,
            found.quality,
            tuple(self.areas),
            self.names,
            tuple((image.shape[1], image.shape[2]) for image in found.images),
        )

    def trust(self, quality: Tensor) -> Tensor:
        """Which masks are of a quality to be used: bool, as quality."""
        return quality >= self.min_quality

    @torch.no_grad()
    def masks(
        self,
        images: Tensor | Sequence[Tensor],
        keypoints: Tensor | Pose | None = None,
        paths: Sequence[str] | None = None,
    ) -> Segmentation:
        """The masks alone (Eqs. 1 to 4), from which `crop_regions` cuts regions at any time.

        Args:
            images, keypoints: as for a call.
            paths: of the images, for a segmenter that has their masks in files (`label_maps`).

        Returns:
            Segmentation, in the order of the images.

        Raises:
            TypeError, ValueError: as a call.
        """
        images, pose = self.pose(images, keypoints)
        keypoints = pose.keypoints
        prompts = make_prompts(keypoints, self.areas, self.thresholds, self.literal, self.names)
        known = {"person": pose.person, "paths": paths}
        takes = signature(self.segment).parameters
        more = {name: value for name, value in known.items() if name in takes}
        masks = self.segment(images, keypoints, prompts, **more)
        quality = masks.quality.cpu() if isinstance(masks, Masks) else None
        masks = [mask.cpu() for mask in (masks.masks if isinstance(masks, Masks) else masks)]
        for row, (image, mask) in enumerate(zip(images, masks, strict=True)):
            if mask.shape != (len(self.areas), *image.shape[1:]):
                raise ValueError(
                    f"the segmenter gave masks {tuple(mask.shape)} for images[{row}], expected "
                    f"[a h w] = {(len(self.areas), *image.shape[1:])}, areas {tuple(self.areas)}"
                )
        if quality is None:
            quality = mask_quality(images, masks, keypoints, prompts)
        return Segmentation(images, masks, keypoints, quality, prompts)

    def pose(
        self, images: Tensor | Sequence[Tensor], keypoints: Tensor | Pose | None = None
    ) -> tuple[list[Tensor], Pose]:
        """The checked images as a list, and their keypoints (Eq. 1), on the CPU.

        Args:
            images, keypoints: as for a call.

        Raises:
            TypeError, ValueError: as a call.
        """
        images = _check_images(images)
        if keypoints is None and isinstance(self.predict, KeypointTable):
            raise ValueError(f"keypoints are from {self.predict.source}: pass those of these images")
        found = self.predict(images) if keypoints is None else keypoints
        pose = found if isinstance(found, Pose) else Pose(found)
        check_keypoints(pose.keypoints, self.names)
        if len(pose.keypoints) != len(images):
            raise ValueError(f"expected keypoints of {len(images)} images, got {len(pose.keypoints)} rows")
        return images, Pose(pose.keypoints.cpu().float(), pose.person)

    def with_segmenter(self, segmenter: Segmenter) -> LocalSemanticExtractor:
        """The same extractor with another segmenter."""
        other = copy(self)
        other.segment = segmenter
        return other


def _check_images(images: Tensor | Sequence[Tensor]) -> list[Tensor]:
    if isinstance(images, Tensor) and images.ndim != 4:
        raise ValueError(f"images must be [b 3 h w] or a list of [3 h w], got shape {tuple(images.shape)}")
    if not len(images):
        raise ValueError("images is empty: give at least one crop")
    for row, image in enumerate(images):
        check_image(image, f"images[{row}]")
    return list(images)


def _pad(masks: list[Tensor]) -> Tensor:
    height, width = (max(mask.shape[axis] for mask in masks) for axis in (1, 2))
    padded = torch.zeros(len(masks), len(masks[0]), height, width, dtype=torch.bool)
    for row, mask in enumerate(masks):
        padded[row, :, : mask.shape[1], : mask.shape[2]] = mask
    return padded
