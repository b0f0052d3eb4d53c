"""Position embeddings of one patch grid, resampled to another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor


def pair_of(size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) of a size that may be given as one number.

    Example:
        >>> pair_of(16), pair_of([256, 128])
        ((16, 16), (256, 128))
    """
    if isinstance(size, int):
        return size, size
    height, width = size
    return height, width


def grid_of(image_size: tuple[int, int], patch: tuple[int, int], stride: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of patches in an image.

    Args:
        image_size: (height, width) in pixels.
        patch: (height, width) of a patch.
        stride: from patch to patch; less than the patch makes them overlap (TransReID, He et al., ICCV 2021).

    Raises:
        ValueError: not one patch fits, or patches side by side would leave a rim of the image unseen.

    Example:
        >>> grid_of((256, 128), (16, 16), (12, 12))
        (21, 10)
    """
    for name, size, length, step in zip(("height", "width"), image_size, patch, stride, strict=True):
        if not 0 < step <= length <= size:
            raise ValueError(f"image_size {image_size}: {name} {size} with patch {length} and stride {step}")
        if step == length and size % step:
            raise ValueError(
                f"image_size {image_size}: {name} {size} is no multiple of the patch size {length}; "
                "resize the images, or give a smaller stride for overlapping patches"
            )
    rows, columns = (
        (size - length) // step + 1 for size, length, step in zip(image_size, patch, stride, strict=True)
    )
    return rows, columns


def resize_positions(
    positions: Tensor, old: tuple[int, int], new: tuple[int, int], prefix: int = 1
) -> Tensor:
    """Resample position embeddings to another grid, bicubic with antialiasing, as timm and open_clip do.

    Args:
        positions: [prefix + rows * columns, width] of the old grid.
        old: (rows, columns) they are of.
        new: (rows, columns) wanted.
        prefix: embeddings of class and register tokens in front; kept as they are.

    Returns:
        [prefix + rows * columns, width] of the new grid, in the same dtype.

    Example:
        >>> resize_positions(torch.randn(1 + 14 * 14, 768), (14, 14), (16, 8)).shape
        torch.Size([129, 768])
    """
    if old == new:
        return positions
    grid = rearrange(positions[prefix:].float(), "(h w) d -> 1 d h w", h=old[0])
    grid = F.interpolate(grid, size=new, mode="bicubic", antialias=True)
    grid = rearrange(grid, "1 d h w -> (h w) d").to(positions.dtype)
    return torch.cat([positions[:prefix], grid])
