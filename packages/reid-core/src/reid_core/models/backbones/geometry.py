"""How many patches an image has, and the padding that makes them whole."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional


def _padded_side(side: int, patch: int, stride: int) -> int:
    return side + -side % patch if stride == patch else max(side, patch)


def patch_grid(image_size: tuple[int, int], patch: int, stride: int | None = None) -> tuple[int, int]:
    """(h, w) of an image's patches after `pad_patches`.

    Args:
        image_size: (height, width) in pixels.
        patch: side of a patch in pixels.
        stride: pixels from a patch to the next; None for the patch size.

    Returns:
        Without overlap the patches that cover the image; with it those that fit, floor((side - patch) /
        stride) + 1 (He et al., "TransReID", ICCV 2021, eq. 2).

    Example:
        >>> patch_grid((64, 44), 16), patch_grid((256, 128), 16, 12)
        ((4, 3), (21, 10))
    """
    stride = patch if stride is None else stride
    height, width = ((_padded_side(side, patch, stride) - patch) // stride + 1 for side in image_size)
    return height, width


def pad_patches(images: Tensor, patch: int, stride: int | None = None) -> Tensor:
    """Pad with zeros at the right and bottom: to whole patches, or with overlap to at least one patch.

    Args:
        images: float [b 3 h w].
        patch: side of a patch in pixels.
        stride: pixels from a patch to the next; None for the patch size.

    Returns:
        [b 3 h' w'], the images themselves where nothing is missing.

    Example:
        >>> import torch
        >>> pad_patches(torch.zeros(1, 3, 64, 44), 16).shape
        torch.Size([1, 3, 64, 48])
    """
    stride = patch if stride is None else stride
    height, width = images.shape[-2:]
    down, right = _padded_side(height, patch, stride) - height, _padded_side(width, patch, stride) - width
    return functional.pad(images, (0, right, 0, down)) if down or right else images


class Sizes(NamedTuple):
    """The images that a trunk takes, and the grid of its patch tokens.

    Attributes:
        stride: pixels from a patch token to the next.
        unit: images are padded to multiples of it; 1 pads none.
        only: (height, width) of the padded image that the trunk is built for; None where it takes any.

    Example:
        >>> Sizes(32, 32).grid((100, 64))
        (4, 2)
        >>> Sizes(16, 16, only=(256, 128)).grid((128, 64))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: this backbone takes images of 256x128 alone, got 128x64: build it for that size, or ...
    """

    stride: int
    unit: int
    only: tuple[int, int] | None = None

    def padded_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of an image after `pad`."""
        height, width = (side + -side % self.unit for side in image_size)
        return height, width

    def grid(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the patch tokens of an image of that size in pixels; an error where it can't be taken."""
        if self.only not in (None, self.padded_size(image_size)):
            built, given = (f"{height}x{width}" for height, width in (self.only, image_size))
            raise ValueError(
                f"this backbone takes images of {built} alone, got {given}: build it for that size, or "
                "choose one that takes any"
            )
        return patch_grid(image_size, self.stride)

    def pad(self, images: Tensor) -> Tensor:
        """Float [b 3 h w] -> the same with zeros at the right and bottom, to whole units."""
        return pad_patches(images, self.unit)
