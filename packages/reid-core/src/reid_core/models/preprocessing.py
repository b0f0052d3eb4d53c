"""What is done to an image before a model sees it: a model folder says it, and training did the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from reid_core.data.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Channels,
    Interpolation,
    Size,
    normalise,
    resize,
    standardise,
)


@dataclass(frozen=True)
class Preprocessing:
    """Resize, order of the channels, and normalisation of RGB images and clips.

    `x = (image / 255 * max_value - mean) / std` for each channel, or, with `per_image`, the image's own mean
    and standard deviation in their place (`data.transforms.standardise`).

    Args:
        size: (height, width) in pixels.
        mean, std: of the channels, in the model's order and between 0 and `max_value`.
        interpolation: "bilinear" or "bicubic", antialiased.
        per_image: standardise each image (each frame of a clip) by itself.
        channels: the model's order, "RGB" or "BGR".
        max_value: of a white sample before mean and std: 1, or 255 for models that take raw samples.
        frames: T of a model of clips [b T 3 h w]; None for a model of images, where a tracklet's feature is
            the mean of its frames'.
        frame_size: (height, width) of a clip's frames in a model that takes both images (at `size`) and
            clips; None in one that takes clips alone, where an image is a clip of one repeated frame.

    Raises:
        ValueError: a value that can't be; the message names the field.

    Example:
        >>> import torch
        >>> preprocessing = Preprocessing(size=(8, 4), mean=(0, 0, 0), std=(1, 1, 1))
        >>> images = torch.full((1, 3, 8, 4), 255, dtype=torch.uint8)
        >>> preprocessing.normalise(images).unique()
        tensor([1.])
    """

    size: Size
    mean: Channels = IMAGENET_MEAN
    std: Channels = IMAGENET_STD
    interpolation: Interpolation = "bilinear"
    per_image: bool = False
    channels: Literal["RGB", "BGR"] = "RGB"
    max_value: int = 1
    frames: int | None = None
    frame_size: Size | None = None

    def __post_init__(self) -> None:
        for field in ("size", "frame_size"):
            if (size := getattr(self, field)) is not None or field == "size":
                if not _numbers(size, 2) or not all(isinstance(side, int) and side > 0 for side in size):
                    _refuse(field, size, "(height, width), two whole numbers of pixels")
                object.__setattr__(self, field, tuple(size))
        for field in ("mean", "std"):
            values = getattr(self, field)
            if not _numbers(values, 3) or (field == "std" and min(values) <= 0):
                _refuse(field, values, f"three {'positive ' if field == 'std' else ''}numbers")
            object.__setattr__(self, field, tuple(float(value) for value in values))
        for field, allowed in (
            ("interpolation", ("bilinear", "bicubic")),
            ("per_image", (True, False)),
            ("channels", ("RGB", "BGR")),
            ("max_value", (1, 255)),
        ):
            if (value := getattr(self, field)) not in allowed:
                _refuse(field, value, " or ".join(map(repr, allowed)))
        if self.frames is not None and (type(self.frames) is not int or self.frames < 1):
            _refuse("frames", self.frames, "a number of frames, or None for a model of images")
        if self.frame_size is not None and self.frames is None:
            _refuse("frame_size", self.frame_size, "None where frames is None: a model of images")

    @property
    def takes_images(self) -> bool:
        """Whether the model takes images [b 3 h w]; otherwise an image is made a clip."""
        return self.frames is None or self.frame_size is not None

    def resize(self, image: Tensor, clip: bool = False) -> Tensor:
        """An image at the model's size.

        Args:
            image: uint8 [3 h w].
            clip: whether it is a frame of a clip.

        Returns:
            uint8 [3 H W].
        """
        return resize(image, (self.frame_size or self.size) if clip else self.size, self.interpolation)

    def normalise(self, images: Tensor) -> Tensor:
        """What the model takes, on the images' device.

        Args:
            images: uint8 [... 3 h w], RGB, of the model's size.

        Returns:
            float32 of the same shape.
        """
        if self.channels == "BGR":
            images = images.flip(-3)
        if self.per_image:
            return standardise(images)
        mean, std = (tuple(value / self.max_value for value in values) for values in (self.mean, self.std))
        return normalise(images, mean, std)


def _numbers(values: object, length: int) -> bool:
    return (
        isinstance(values, Sequence)
        and len(values) == length
        and all(type(value) in (int, float) and math.isfinite(value) for value in values)
    )


def _refuse(field: str, value: object, expected: str) -> None:
    raise ValueError(f"preprocessing.{field}: got {value!r}; expected {expected}")
