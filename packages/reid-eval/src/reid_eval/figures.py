"""Pictures for papers: CMC curves, ranked lists and attention overlays, readable without colour vision."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from PIL import Image

from reid_eval.evaluation import Result

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, distinguishable with any colour vision."""

LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
RIGHT, WRONG, QUERY = "#009E73", "#D55E00", "#000000"
DPI = 150
CELL_INCHES = 0.9
"""Width of one picture of a grid."""


def plot_cmc(results: Mapping[str, Result], path: str | Path, max_rank: int = 20) -> Path:
    """Draw cumulative match curves, one a named result, with their mAP in the legend.

    Args:
        results: from a name for the legend to a result.
        path: file to write; the ending says the format (png, pdf, svg).
        max_rank: last rank shown; galleries may be smaller.

    Returns:
        The path written.

    Raises:
        ValueError: no result, or a max_rank below 1.
    """
    if not results or max_rank < 1:
        raise ValueError(f"give at least one result and a max_rank from 1, got {len(results)} and {max_rank}")
    figure = Figure(figsize=(5.2, 3.8), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    for number, (name, result) in enumerate(results.items()):
        curve = 100 * result.cmc_curve[:max_rank]
        axes.plot(
            np.arange(1, len(curve) + 1),
            curve,
            color=COLOURS[number % len(COLOURS)],
            linestyle=LINES[number % len(LINES)],
            marker=MARKERS[number % len(MARKERS)],
            markevery=max(1, max_rank // 10),
            markersize=4.5,
            label=f"{name}: Rank-1 {100 * result.cmc_curve[0]:.1f} %, mAP {100 * result.mAP:.1f} %",
        )
    ticks = [rank for rank in (1, 5, 10, 15, 20, 30, 40, 50) if rank <= max_rank]
    axes.set(xlabel="Rank", ylabel="Matched queries (%)", xticks=ticks, xlim=(0.5, max_rank + 0.5))
    axes.set_ylim(top=101)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, loc="best")
    return _save(figure, path)


def plot_ranked_list(
    query_images: Sequence[object],
    gallery_images: Sequence[object] | Mapping[int, object],
    indices: np.ndarray,
    correct: np.ndarray,
    path: str | Path,
) -> Path:
    """Draw queries with their first answers: right solid green with a tick, wrong dashed red with a cross.

    An image is a file's path, a uint8 array [h w 3] or a uint8 tensor [3 h w]; a clip is a sequence of those,
    or an array with one more leading dimension, and shows its middle frame.

    Args:
        query_images: one image or clip a query, in the order of the rows of `indices`.
        gallery_images: images or clips, looked up by the gallery rows in `indices`; only those are read.
        indices: int [q k] from `ranked`; -1 leaves the place empty.
        correct: bool [q k] from `ranked`.
        path: file to write.

    Returns:
        The path written.

    Raises:
        ValueError: shapes that do not fit together, or something that is no image.
    """
    indices, correct = np.asarray(indices), np.asarray(correct)
    if (
        indices.ndim != 2
        or indices.shape != correct.shape
        or len(indices) != len(query_images)
        or not indices.size
    ):
        raise ValueError(
            "indices and correct must both be [q k] with one row for each of the "
            f"{len(query_images)} query_images, got {indices.shape} and {correct.shape}"
        )
    queries = [as_picture(image) for image in query_images]
    aspect = max(picture.shape[0] / picture.shape[1] for picture in queries)
    grid, figure = _grid(len(queries), indices.shape[1] + 1, min(aspect, 3.0))
    for row, picture in enumerate(queries):
        _show(grid[row][0], picture)
        _border(grid[row][0], QUERY, "-", "")
        for column, (index, right) in enumerate(zip(indices[row], correct[row], strict=True), start=1):
            axes = grid[row][column]
            if index < 0:
                axes.set_visible(False)
                continue
            _show(axes, as_picture(gallery_images[int(index)]))
            _border(axes, RIGHT if right else WRONG, "-" if right else (0, (2.2, 1.4)), "✓" if right else "✗")
    for column, axes in enumerate(grid[0]):
        axes.set_title("query" if column == 0 else str(column), fontsize=8, pad=5)
    return _save(figure, path)


def plot_attention(
    images: Sequence[object],
    maps: Mapping[str, np.ndarray | torch.Tensor],
    path: str | Path,
    normalise: Literal["row", "cell"] = "cell",
    alpha: float = 0.6,
) -> Path:
    """Lay attention maps over images, or over the frames of a clip: a column an image, a row a named map.

    Args:
        images: n images as in `plot_ranked_list`, or a clip as an array [n h w 3] or a tensor [n 3 h w].
        maps: from a name (class token, query 1, ...) to non-negative float [n h' w'], one map an image; it is
            stretched over the image.
        path: file to write.
        normalise: "cell" gives each overlay the whole colour range; "row" shares it among the columns, so
            that the frames of a clip, which share one softmax, can be compared.
        alpha: opacity of the overlay where attention is highest; it fades out to nothing with attention.

    Returns:
        The path written.

    Raises:
        ValueError: no image or map, a map of another length or not [n h w], or values that are not finite.
    """
    pictures = [as_picture(image) for image in images]
    if not pictures or not maps:
        raise ValueError(f"give at least one image and one map, got {len(pictures)} and {len(maps)}")
    if normalise not in ("row", "cell"):
        raise ValueError(f"normalise must be 'row' or 'cell', got {normalise!r}")
    aspect = max(picture.shape[0] / picture.shape[1] for picture in pictures)
    grid, figure = _grid(len(maps) + 1, len(pictures), min(aspect, 3.0))
    for column, picture in enumerate(pictures):
        _show(grid[0][column], picture)
    _label(grid[0][0], "image")
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
            axes = grid[row][column]
            _show(axes, picture)
            scope = weights if normalise == "row" else weights[column]
            heat = (weights[column] - scope.min()) / max(float(scope.max() - scope.min()), 1e-12)
            _overlay(axes, heat, picture.shape[:2], alpha)
        _label(grid[row][0], name)
    return _save(figure, path)


def as_picture(image: object) -> np.ndarray:
    """Any image or clip of the figures as uint8 [h w 3]; of a clip, the middle frame.

    Args:
        image: path, uint8 [h w 3] array, uint8 [3 h w] tensor, or a clip of them ([t ...], or a sequence).

    Raises:
        FileNotFoundError: no such file.
        ValueError: anything else; it says what it got.

    Example:
        >>> as_picture(torch.zeros(8, 3, 32, 16, dtype=torch.uint8)).shape
        (32, 16, 3)
    """
    if isinstance(image, str | os.PathLike):
        with Image.open(image) as file:
            return np.asarray(file.convert("RGB"))
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


def _grid(rows: int, columns: int, aspect: float) -> tuple[np.ndarray, Figure]:
    size = (columns * CELL_INCHES * 1.1 + 0.5, rows * CELL_INCHES * aspect * 1.1 + 0.3)
    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0.02, hspace=0.02)
    figure = Figure(figsize=size, dpi=DPI, layout=layout)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    return grid, figure


def _show(axes: Axes, picture: np.ndarray) -> None:
    axes.imshow(picture, interpolation="lanczos", aspect="equal")


def _border(axes: Axes, colour: str, line: object, mark: str) -> None:
    frame = Rectangle((0, 0), 1, 1, transform=axes.transAxes, fill=False, edgecolor=colour, linewidth=2.6)
    frame.set(linestyle=line, clip_on=False)
    axes.add_patch(frame)
    if mark:
        box = {"boxstyle": "circle,pad=0.12", "facecolor": "white", "edgecolor": colour, "linewidth": 0.8}
        text = axes.text(0.86, 0.07, mark, color=colour, fontsize=7, weight="bold", bbox=box)
        text.set(ha="center", va="center", transform=axes.transAxes)


def _overlay(axes: Axes, heat: np.ndarray, shape: tuple[int, ...], alpha: float) -> None:
    """Colours and opacity both follow attention, so that what is not attended to stays visible as it is."""
    height, width = shape
    small = Image.fromarray(heat.astype(np.float32), mode="F")
    wide = np.clip(np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)), 0, 1)
    axes.imshow(wide, cmap="inferno", vmin=0, vmax=1, alpha=alpha * np.sqrt(wide))


def _label(axes: Axes, text: str) -> None:
    axes.set_ylabel(text, fontsize=8, rotation=90)


def _save(figure: Figure, path: str | Path) -> Path:
    """Write under a temporary name, then rename, so that a reader never meets half a picture."""
    path = Path(path)
    kind = path.suffix.lstrip(".").lower() or "png"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    FigureCanvasAgg(figure)
    try:
        figure.savefig(temporary, format=kind)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
