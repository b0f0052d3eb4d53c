"""One picture of what was extracted: crops in rows, prompts in green and red, masks as overlays, regions."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor

from reid_lse.extraction import Extraction
from reid_lse.files import UnreadableImage, list_images, read_image
from reid_lse.lse import LocalSemanticExtractor
from reid_lse.prompts import make_prompts
from reid_lse.regions import crop_regions

CELL = (192, 96)
"""Height and width of a cell in pixels."""

OPACITY = 0.55
"""Of the masks over the crops."""

POSITIVE, NEGATIVE, DROPPED = "#20e020", "#ff3030", "#b0b0b0"


def preview(images: str, out: str, extraction: Extraction, count: int = 16) -> int:
    """Draw crops with their keypoints, prompts, masks and regions into one PNG.

    Args:
        images: folder of images, or Parquet with a column path
        out: *.png to write
        extraction: how masks are made.
        count: images to draw, evenly spread over all

    Returns:
        Images drawn; those that can't be read are left out.

    Raises:
        FileNotFoundError: no such images, keypoints or weights.
        OSError: out can't be written.
        ValueError: options that don't fit, no readable image, a name that doesn't end in .png.
    """
    path = Path(out)
    if path.suffix.lower() != ".png":
        raise ValueError(f"{out}: expected a name that ends in .png")
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    source = list_images(images)
    extractor, known = extraction.extractor(), extraction.known_keypoints()
    rows = np.unique(np.linspace(0, len(source.paths) - 1, count).round().astype(int))
    names, crops = [], []
    for row in rows:
        try:
            crops.append(read_image(source.root / source.paths[row]))
            names.append(source.paths[row])
        except UnreadableImage:
            continue
    if not crops:
        raise ValueError(f"{images}: none of {len(rows)} images could be read")
    picture = draw(extractor, crops, known.of(names) if known else None)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_bytes(picture)
    partial.replace(path)
    return len(crops)


def draw(
    extractor: LocalSemanticExtractor, images: Sequence[Tensor], keypoints: Tensor | None = None
) -> bytes:
    """The picture of some crops as PNG: a row a crop; the crop, its masks, prompts an area, regions.

    Args:
        extractor: what makes the masks.
        images: crops, uint8 [3 h w] each.
        keypoints: float [b 17 3] if they are known already.

    Returns:
        PNG.
    """
    images, masks, keypoints = extractor.masks(images, keypoints)
    prompts = make_prompts(keypoints, extractor.areas, extractor.thresholds, extractor.literal)
    areas = list(extractor.areas)
    titles = ["keypoints", "masks", *areas, *areas]
    mosaic = np.full((len(images) * CELL[0], len(titles) * CELL[1], 3), 255, np.uint8)
    marks: list[tuple[float, float, str]] = []
    for row, (image, found) in enumerate(zip(images, masks, strict=True)):
        regions, _ = crop_regions(image, found, CELL, extractor.fill)
        crop, scale = _fitted(image.permute(1, 2, 0).numpy())
        overlay, _ = _fitted(_overlaid(image, found))
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
                    says = [bool(side[row, column - 2, point]) for side in prompts]
                    colour = POSITIVE if says[0] else NEGATIVE if says[1] else ""
                if colour and 0 <= x < CELL[1] and 0 <= y < CELL[0]:
                    marks.append((x + column * CELL[1], y + top, colour))
    return _png(mosaic, marks, titles)


def _fitted(pixels: np.ndarray) -> tuple[np.ndarray, float]:
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
