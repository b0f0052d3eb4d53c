"""How many patches an image has, and the padding that makes them whole."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def _padded(side: int, patch: int, stride: int) -> int:
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
    height, width = ((_padded(side, patch, stride) - patch) // stride + 1 for side in image_size)
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
    down, right = _padded(height, patch, stride) - height, _padded(width, patch, stride) - width
    return functional.pad(images, (0, right, 0, down)) if down or right else images
