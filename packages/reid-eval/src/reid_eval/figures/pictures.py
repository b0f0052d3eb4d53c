"""Grids of person images: reading them from whatever they come as, and laying them out."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from reid_eval.figures.style import DPI

CELL_INCHES = 0.9
"""Width of one picture of a grid."""
MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 2**26
"""Pixels of an image beyond which it is taken for a decompression bomb: Pillow's limit."""
TALLEST = 3.0
"""Height over width above which a picture's cell grows no further."""


def as_picture(image: object) -> np.ndarray:
    """Any image or clip of the figures as uint8 [h w 3]; of a clip, the middle frame.

    Args:
        image: path, uint8 [h w 3] array, uint8 [3 h w] tensor, or a clip of them ([t ...], or a sequence).

    Raises:
        OSError: no such file, no image, or one of more than MAX_PIXELS.
        ValueError: anything else; it says what it got.

    Example:
        >>> as_picture(torch.zeros(8, 3, 32, 16, dtype=torch.uint8)).shape
        (32, 16, 3)
    """
    if isinstance(image, str | os.PathLike):
        return _read_picture(image)
    if isinstance(image, torch.Tensor):
        frame = image[len(image) // 2] if image.ndim == 4 else image
        if frame.ndim == 3 and frame.shape[0] == 3 and frame.dtype == torch.uint8:
            return frame.permute(1, 2, 0).cpu().numpy()
    elif isinstance(image, np.ndarray):
        array = image[len(image) // 2] if image.ndim == 4 else image
        if array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8:
            return array
    elif isinstance(image, Sequence) and len(image):
        return as_picture(image[len(image) // 2])
    given = repr(image)[:80]
    if isinstance(image, np.ndarray | torch.Tensor):
        given = f"{image.dtype} of shape {tuple(image.shape)}"
    raise ValueError(
        "an image is a path, a uint8 array [h w 3] or a uint8 tensor [3 h w], and a clip a sequence of them; "
        f"got {given}"
    )


def _read_picture(path: str | os.PathLike[str]) -> np.ndarray:
    try:
        with Image.open(path) as file:
            if file.width * file.height > MAX_PIXELS:
                raise OSError(f"{path}: {file.width} x {file.height} pixels; expected at most {MAX_PIXELS:,}")
            return np.asarray(file.convert("RGB"))
    except (SyntaxError, ValueError, Image.DecompressionBombError) as error:  # Pillow's, of damaged files
        raise OSError(f"{path}: can't be read as an image ({error})") from error


def picture_grid(rows: int, columns: int, pictures: Sequence[np.ndarray]) -> tuple[np.ndarray, Figure]:
    """Axes [rows columns] without ticks, in cells of the shape of the tallest of some pictures."""
    aspect = min(max(picture.shape[0] / picture.shape[1] for picture in pictures), TALLEST)
    size = (columns * CELL_INCHES * 1.1 + 0.5, rows * CELL_INCHES * aspect * 1.1 + 0.6)
    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0.02, hspace=0.02)
    figure = Figure(figsize=size, dpi=DPI, layout=layout)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    return grid, figure


def show_picture(axes: Axes, picture: np.ndarray) -> None:
    """Draw uint8 [h w 3] into a cell of the grid."""
    axes.imshow(picture, interpolation="lanczos", aspect="equal")
