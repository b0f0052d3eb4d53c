"""Which colours speak for an area and which against it: smoothed histograms over a crop's own colours."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

STEP = 12
"""Width of a histogram's bin, of the 256 steps of each of CIELAB's channels."""

CHROMA = 2.2
"""Weight of CIELAB's colour channels beside its lightness, which shadows change."""

SPREAD = 10.0
"""Standard deviation in the same steps over which neighbouring bins count as one colour."""

CHANNEL = 48
"""More bins than any channel has."""


BINS = tuple((np.arange(256) * weight).astype(np.int32) // STEP for weight in (1.0, CHROMA))
"""The bin of each value of the lightness and of the colour channels."""


class Palette(NamedTuple):
    """The colours that a crop has.

    Attributes:
        pixels: int [p], the colour of each pixel, rows first.
        kinship: float32 [c c], how much two colours count as one.
    """

    pixels: np.ndarray
    kinship: np.ndarray


def palette(image: np.ndarray) -> Palette:
    """The colours of a crop, uint8 [h w 3] RGB.

    Example:
        >>> flat = palette(np.full((4, 2, 3), 90, np.uint8))
        >>> flat.pixels.shape, flat.kinship.shape
        ((8,), (1, 1))
    """
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).reshape(-1, 3)
    key = (BINS[0][lab[:, 0]] * CHANNEL + BINS[1][lab[:, 1]]) * CHANNEL + BINS[1][lab[:, 2]]
    place = np.zeros(CHANNEL**3, np.int32)
    place[key] = 1
    colours = np.flatnonzero(place)
    place[colours] = np.arange(len(colours))
    bins = np.stack([colours // CHANNEL**2, colours // CHANNEL % CHANNEL, colours % CHANNEL], axis=1)
    centres = bins.astype(np.float32) * STEP
    square = (centres**2).sum(axis=1)
    apart = square[:, None] + square[None] - 2 * centres @ centres.T
    return Palette(place[key], np.exp(-np.maximum(apart, 0) / (2 * SPREAD**2)))


def count_colours(colours: Palette, weights: np.ndarray, cells: np.ndarray, number: int) -> np.ndarray:
    """Histograms of weighted pixels in each cell of the crop: float32 [cells c].

    Args:
        colours: of the crop.
        weights: float [p], of each pixel.
        cells: int [p], the cell that each pixel lies in.
        number: of cells.
    """
    size = len(colours.kinship)
    counts = np.bincount(cells * size + colours.pixels, weights=weights, minlength=number * size)
    return counts.reshape(number, size).astype(np.float32)
