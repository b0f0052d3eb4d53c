"""Attention laid over images, as VILLS shows what its queries look at (Fig. 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image

from reid_eval.figures.pictures import as_picture, picture_grid, show_picture

COLOURS = "inferno"
"""Matplotlib's name of the colours of attention, which grow lighter with it."""


def attention_figure(
    images: Sequence[object],
    maps: Mapping[str, np.ndarray | torch.Tensor],
    normalise: Literal["row", "cell"] = "cell",
    alpha: float = 0.6,
) -> Figure:
    """Lay attention maps over images or the frames of a clip: one column per image, one row per named map.

    Args:
        images: n images as in `ranked_list_figure`, or a clip as an array [n h w 3] or a tensor [n 3 h w].
        maps: from a name (class token, query 1, ...) to non-negative float [n h' w'], one map per image,
            stretched over the image.
        normalise: "cell" gives each overlay the whole colour range; "row" shares it among the columns, so
            that the frames of a clip, which share one softmax, can be compared.
        alpha: opacity of the overlay where attention is highest; it fades out to nothing with attention.

    Returns:
        The figure.

    Raises:
        ValueError: no image or map, a map of another length or not [n h w], or values that are not finite.
    """
    pictures = [as_picture(image) for image in images]
    if not pictures or not maps:
        raise ValueError(f"give at least one image and one map, got {len(pictures)} and {len(maps)}")
    if normalise not in ("row", "cell"):
        raise ValueError(f"normalise must be 'row' or 'cell', got {normalise!r}")
    grid, figure = picture_grid(len(maps) + 1, len(pictures), pictures)
    for column, picture in enumerate(pictures):
        show_picture(grid[0][column], picture)
    grid[0][0].set_ylabel("image", fontsize=8)
    for row, (name, values) in enumerate(maps.items(), start=1):
        weights = (
            values.detach().cpu().float().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
        )
        if weights.ndim != 3 or len(weights) != len(pictures):
            raise ValueError(
                f"map {name!r} must be [n h w] with n = {len(pictures)} images, got {weights.shape}"
            )
        if not np.isfinite(weights).all():
            raise ValueError(f"map {name!r} holds NaN or infinite values")
        for column, picture in enumerate(pictures):
            show_picture(grid[row][column], picture)
            scope = weights if normalise == "row" else weights[column]
            heat = (weights[column] - scope.min()) / max(float(scope.max() - scope.min()), 1e-12)
            _overlay(grid[row][column], heat, picture.shape[:2], alpha)
        grid[row][0].set_ylabel(name, fontsize=8)
    shades = ScalarMappable(Normalize(0, 1), COLOURS)
    bar = figure.colorbar(shades, ax=grid.ravel().tolist(), location="bottom", aspect=40, pad=0.01)
    bar.set_ticks([0, 1], labels=["least", "most"], fontsize=8)
    least, most = bar.ax.get_xticklabels()
    least.set_horizontalalignment("left")
    most.set_horizontalalignment("right")
    bar.set_label(f"attention within each {'row' if normalise == 'row' else 'picture'}", fontsize=8)
    return figure


def _overlay(axes: Axes, heat: np.ndarray, shape: tuple[int, ...], alpha: float) -> None:
    """Colours and opacity both follow attention, so that what is not attended to stays visible as it is."""
    height, width = shape
    small = Image.fromarray(heat.astype(np.float32), mode="F")
    wide = np.clip(np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)), 0, 1)
    axes.imshow(wide, cmap=COLOURS, vmin=0, vmax=1, alpha=alpha * np.sqrt(wide))
