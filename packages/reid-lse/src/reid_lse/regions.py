"""From masks to local regions, {x^{i,a} | a in A} (Eq. 5 of VILLS), and masks as bits for caches."""

from __future__ import annotations

from typing import Literal, get_args

import cv2
import numpy as np
import torch
from torch import Tensor

REGION_SIZE = (128, 64)
"""Height and width of a region in VILLS (supplement, section 2)."""

MIN_SHARE = 0.002
"""Masks below this share of the image (16 pixels of 128x64) are too small to show anything."""

Fill = Literal["zero", "mean", "blur"]

BLUR = 0.06
"""Standard deviation of the blur, as a share of the image's height: no texture of the background is left."""


def crop_regions(
    image: Tensor,
    masks: Tensor,
    size: tuple[int, int] = REGION_SIZE,
    fill: Fill = "zero",
    min_share: float = MIN_SHARE,
) -> tuple[Tensor, Tensor]:
    """Cut masked areas out of an image: tight, resized with their aspect kept, centred (Eq. 5 of VILLS).

    Args:
        image: uint8 [3 h w].
        masks: bool [a h w], one an area.
        size: height and width of a region in pixels.
        fill: pixels outside the mask: "zero", "mean", the image's mean colour, or "blur", the blurred
            image, and its mean colour beside the tight box and where invalid.
        min_share: masks below this share of the image's pixels are invalid, and so are empty ones.

    Returns:
        crops uint8 [a 3 h' w'] (nothing but fill where invalid) and valid bool [a].

    Raises:
        TypeError: an image that is not uint8, masks that are not bool.
        ValueError: shapes that do not fit, an unknown fill, a size below 1.

    Example:
        >>> image = torch.full((3, 128, 64), 200, dtype=torch.uint8)
        >>> masks = torch.zeros(2, 128, 64, dtype=torch.bool)
        >>> masks[0, 10:30, 20:40] = True
        >>> crops, valid = crop_regions(image, masks)
        >>> crops.shape, valid.tolist()
        (torch.Size([2, 3, 128, 64]), [True, False])
    """
    check_image(image, "image")
    _check_masks(masks, "masks")
    if masks.ndim != 3 or masks.shape[1:] != image.shape[1:]:
        raise ValueError(
            f"masks must be [a h w] like the image {tuple(image.shape)}, got shape {tuple(masks.shape)}"
        )
    check_fill(fill)
    height, width = size
    if min(size) < 1:
        raise ValueError(f"size must be (height, width) of at least 1 pixel, got {size}")
    pixels = np.ascontiguousarray(image.detach().cpu().permute(1, 2, 0).numpy())
    areas = masks.detach().cpu().numpy()
    colour = np.zeros(3) if fill == "zero" else pixels.mean(axis=(0, 1)).round()
    crops = np.empty((len(areas), height, width, 3), dtype=np.uint8)
    crops[:] = colour
    behind = cv2.GaussianBlur(pixels, (0, 0), max(1.0, BLUR * len(pixels))) if fill == "blur" else None
    valid = large_enough(areas, min_share)
    for area in np.flatnonzero(valid):
        _paste(pixels, areas[area], colour, behind, crops[area])
    return torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(valid)


def large_enough(masks: np.ndarray, min_share: float = MIN_SHARE) -> np.ndarray:
    """Which masks, bool [a h w], are neither empty nor below a share of their image: bool [a]."""
    pixels = masks.shape[1] * masks.shape[2]
    return np.count_nonzero(masks, axis=(1, 2)) >= max(1.0, min_share * pixels)


def _paste(
    pixels: np.ndarray, mask: np.ndarray, colour: np.ndarray, behind: np.ndarray | None, out: np.ndarray
) -> None:
    """Put the masked, tightly cropped, resized pixels into the middle of out [h w 3]."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    inside = mask[box].view(np.uint8)
    # Filled before it is resized, so that no background colour leaks in at the outline.
    masked = cv2.copyTo(pixels[box], inside)
    if behind is not None:
        masked[inside == 0] = behind[box][inside == 0]
    elif colour.any():
        masked[inside == 0] = colour
    scale = min(out.shape[0] / inside.shape[0], out.shape[1] / inside.shape[1])
    tall = min(out.shape[0], max(1, round(inside.shape[0] * scale)))
    wide = min(out.shape[1], max(1, round(inside.shape[1] * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    top, left = (out.shape[0] - tall) // 2, (out.shape[1] - wide) // 2
    out[top : top + tall, left : left + wide] = cv2.resize(masked, (wide, tall), interpolation=how)


def check_fill(fill: str) -> None:
    """Raise unless a background fill is known."""
    if fill not in get_args(Fill):
        raise ValueError(f"fill must be one of {get_args(Fill)}, got {fill!r}")


def check_image(image: Tensor, name: str) -> None:
    """Raise unless an image is a uint8 tensor [3 h w] with at least one pixel."""
    if not isinstance(image, Tensor) or image.dtype != torch.uint8:
        given = image.dtype if isinstance(image, Tensor) else type(image).__name__
        raise TypeError(f"{name} must be a uint8 tensor [3 h w] with values from 0 to 255, got {given}")
    if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise ValueError(
            f"{name} must be RGB, [3 h w] with at least one pixel, got shape {tuple(image.shape)}; "
            "convert grey or RGBA images first"
        )


def _check_masks(masks: Tensor, name: str) -> None:
    if not isinstance(masks, Tensor) or masks.dtype != torch.bool:
        given = masks.dtype if isinstance(masks, Tensor) else type(masks).__name__
        raise TypeError(f"{name} must be a bool tensor, got {given}")
