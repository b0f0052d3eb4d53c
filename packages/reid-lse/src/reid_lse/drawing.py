"""One picture of what was extracted: crops in rows, prompts in green and red, masks as overlays, regions."""

from __future__ import annotations

import io
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor

from reid_lse.lse import LocalSemanticExtractor
from reid_lse.regions import crop_regions

CELL = (192, 96)
"""Height and width of a cell in pixels."""

OPACITY = 0.55
"""Of the masks over the crops."""

POSITIVE, NEGATIVE, DROPPED = "#20e020", "#ff3030", "#b0b0b0"


def draw(
    extractor: LocalSemanticExtractor, images: Sequence[Tensor], keypoints: Tensor | None = None
) -> bytes:
    """The picture of some crops as PNG, one row each: keypoints, masks, prompts and region of each area.

    Args:
        extractor: what makes the masks.
        images: crops, uint8 [3 h w] each.
        keypoints: float [b k 3] if they are known already.

    Returns:
        PNG.
    """
    images, masks, keypoints, quality, prompts = extractor.masks(images, keypoints)
    sides = prompts.positive, prompts.negative
    areas = list(extractor.areas)
    titles = ["keypoints", "masks", *areas, *areas]
    mosaic = np.full((len(images) * CELL[0], len(titles) * CELL[1], 3), 255, np.uint8)
    marks: list[tuple[float, float, str]] = []
    for row, (image, found) in enumerate(zip(images, masks, strict=True)):
        trusted = found & extractor.trust(quality[row])[:, None, None]
        regions, _ = crop_regions(image, trusted, CELL, extractor.fill)
        crop, scale = _fit(image.permute(1, 2, 0).numpy())
        overlay, _ = _fit(_overlaid(image, found))
        cells = [crop, overlay, *[crop] * len(areas), *regions.permute(0, 2, 3, 1).numpy()]
        top = row * CELL[0]
        for column, cell in enumerate(cells):
            left = column * CELL[1]
            mosaic[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
        for column in (0, *range(2, 2 + len(areas))):
            for point, (x, y) in enumerate((keypoints[row, :, :2] * scale).tolist()):
                if column == 0:
                    colour = POSITIVE if prompts.positive[row, :, point].any() else DROPPED
                else:
                    says = [bool(side[row, column - 2, point]) for side in sides]
                    colour = POSITIVE if says[0] else NEGATIVE if says[1] else ""
                if colour and 0 <= x < CELL[1] and 0 <= y < CELL[0]:
                    marks.append((x + column * CELL[1], y + top, colour))
    return _png(mosaic, marks, titles)


def _fit(pixels: np.ndarray) -> tuple[np.ndarray, float]:
    """A crop resized into a cell with its aspect kept, and the factor."""
    scale = min(CELL[0] / pixels.shape[0], CELL[1] / pixels.shape[1])
    size = max(1, int(pixels.shape[1] * scale)), max(1, int(pixels.shape[0] * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)), scale


def _overlaid(image: Tensor, masks: Tensor) -> np.ndarray:
    """Masks over the crop, each area in a colour of its own: uint8 [h w 3]."""
    pixels = image.permute(1, 2, 0).float()
    for area, mask in enumerate(masks):
        colour = torch.tensor(colormaps["tab10"](area % 10)[:3]).float() * 255
        pixels[mask] = (1 - OPACITY) * pixels[mask] + OPACITY * colour
    return pixels.round().to(torch.uint8).numpy()


def _png(mosaic: np.ndarray, marks: list[tuple[float, float, str]], titles: list[str]) -> bytes:
    height, width = mosaic.shape[:2]
    header = 24
    figure = Figure(figsize=(width / 100, (height + header) / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, height / (height + header)))
    axes.imshow(mosaic, extent=(0, width, height, 0), interpolation="nearest")
    if marks:
        x, y, colours = zip(*marks, strict=True)
        axes.scatter(x, y, s=14, c=colours, edgecolors="black", linewidths=0.5)
    for column, title in enumerate(titles):
        axes.text((column + 0.5) * CELL[1], -6, title, ha="center", fontsize=9)
    axes.set_axis_off()
    axes.set(xlim=(0, width), ylim=(height, 0))
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": None})
    return png.getvalue()
