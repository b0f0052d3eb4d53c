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
WIDEST_INCHES = 12.0
"""Width of a grid, whose cells grow smaller beyond it."""
FRAME_GAP = 2
"""White pixels between the frames of a strip."""
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


def as_strip(clip: object, frames: int) -> np.ndarray:
    """Evenly spaced frames of a clip side by side as uint8 [h w 3]; of an image, the image.

    Args:
        clip: an image or a clip, as `as_picture` takes them.
        frames: number of frames at most; 1 is the middle one.

    Example:
        >>> as_strip(torch.zeros(8, 3, 32, 16, dtype=torch.uint8), frames=3).shape
        (32, 52, 3)
    """
    is_clip = getattr(clip, "ndim", 0) == 4 or (isinstance(clip, Sequence) and not isinstance(clip, str))
    if frames == 1 or not is_clip:
        return as_picture(clip)
    places = np.linspace(0, len(clip) - 1, min(frames, len(clip))).round().astype(int)  # type: ignore[arg-type]
    pictures = [as_picture(clip[place]) for place in places.tolist()]  # type: ignore[index]
    height = max(picture.shape[0] for picture in pictures)
    gap = np.full((height, FRAME_GAP, 3), 255, dtype=np.uint8)
    parts = [part for picture in pictures for part in (gap, _scale(picture, height))]
    return np.concatenate(parts[1:], axis=1)


def _scale(picture: np.ndarray, height: int) -> np.ndarray:
    """A picture at a height, its shape kept."""
    if picture.shape[0] == height:
        return picture
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def _read_picture(path: str | os.PathLike[str]) -> np.ndarray:
    try:
        with Image.open(path) as file:
            if file.width * file.height > MAX_PIXELS:
                raise OSError(f"{path}: {file.width} x {file.height} pixels; expected at most {MAX_PIXELS:,}")
            return np.asarray(file.convert("RGB"))
    except (SyntaxError, ValueError, Image.DecompressionBombError) as error:  # Pillow's, of damaged files
        raise OSError(f"{path}: can't be read as an image ({error})") from error


def picture_grid(
    rows: int, columns: int, pictures: Sequence[np.ndarray], widths: Sequence[float] = ()
) -> tuple[np.ndarray, Figure]:
    """Axes [rows columns] without ticks, in cells of the shape of the tallest of some pictures.

    Columns may have other widths, in cells.
    """
    aspect = min(max(picture.shape[0] / picture.shape[1] for picture in pictures), TALLEST)
    widths = list(widths) or [1.0] * columns
    cell = min(CELL_INCHES, WIDEST_INCHES / sum(widths)) * 1.1
    size = (sum(widths) * cell + 0.5, rows * cell * aspect + 0.6)
    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0.02, hspace=0.02)
    figure = Figure(figsize=size, dpi=DPI, layout=layout)
    grid = figure.subplots(rows, columns, squeeze=False, width_ratios=widths)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    return grid, figure


def show_picture(axes: Axes, picture: np.ndarray) -> None:
    """Draw uint8 [h w 3] into a cell of the grid."""
    axes.imshow(picture, interpolation="lanczos", aspect="equal")
