"""Ranked lists: queries with their first answers, right and wrong told apart without colour too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from reid_eval.figures.pictures import as_picture, as_strip, picture_grid, show_picture

RIGHT, WRONG, QUERY = "#009E73", "#D55E00", "#000000"
"""Borders: bluish green and vermilion of Okabe and Ito's palette, and black."""
DASHES = (0, (2.2, 1.4))
"""Of the border around a wrong answer."""


def ranked_list_figure(
    query_images: Sequence[object],
    gallery_images: Sequence[object] | Mapping[int, object],
    indices: np.ndarray,
    correct: np.ndarray,
    labels: Sequence[str] = (),
    title: str = "",
    frames: int = 1,
) -> Figure:
    """Draw queries with their first answers: right solid green with a tick, wrong dashed red with a cross.

    An image is a file's path, a uint8 array [h w 3] or a uint8 tensor [3 h w]; a clip is a sequence of those,
    or an array with one more leading dimension, and is drawn as a strip of evenly spaced frames.

    Args:
        query_images: one image or clip a query, in the order of the rows of `indices`.
        gallery_images: images or clips, looked up by the gallery rows in `indices`; only those are read.
        indices: int [q k] from `rank`; -1 leaves the place empty.
        correct: bool [q k] from `rank`.
        labels: what to write beside each query, such as its average precision; none by default.
        title: over the figure.
        frames: frames of a clip's strip; 1 for its middle frame alone.

    Returns:
        The figure, with a legend of the borders.

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
    if len(labels) not in (0, len(indices)):
        raise ValueError(f"give a label for each of the {len(indices)} queries, or none; got {len(labels)}")
    if frames < 1:
        raise ValueError(f"frames={frames}: expected 1 or more")
    queries = [as_strip(image, frames) for image in query_images]
    shown = {int(row): as_strip(gallery_images[int(row)], frames) for row in np.unique(indices[indices >= 0])}
    one = as_picture(query_images[0])
    widths = [
        max(each.shape[1] / each.shape[0] for each in side) * one.shape[0] / one.shape[1]
        for side in (queries, list(shown.values()) or queries)
    ]
    columns = 1 + indices.shape[1]
    grid, figure = picture_grid(len(queries), columns, [one], [widths[0], *widths[1:] * (columns - 1)])
    for row, picture in enumerate(queries):
        show_picture(grid[row][0], picture)
        mark_query(grid[row][0])
        for column, (index, right) in enumerate(zip(indices[row], correct[row], strict=True), start=1):
            axes = grid[row][column]
            if index < 0:
                axes.set_visible(False)
                continue
            show_picture(axes, shown[int(index)])
            mark_answer(axes, bool(right))
    for axes, label in zip(grid[:, 0], labels, strict=False):
        axes.set_ylabel(label, fontsize=8)
    legend = [
        Line2D([], [], color=RIGHT, linewidth=2.6, label="✓ the query's person"),
        Line2D([], [], color=WRONG, linewidth=2.6, linestyle=DASHES, label="✗ another person"),
    ]
    figure.legend(handles=legend, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    if title:
        figure.suptitle(title, fontsize=10)
    for column, axes in enumerate(grid[0]):
        axes.set_title("query" if column == 0 else str(column), fontsize=8, pad=5)
    return figure


def mark_query(axes: Axes) -> None:
    """Draw a query's border.

    Args:
        axes: of its picture.
    """
    _border(axes, QUERY, "-", "")


def mark_answer(axes: Axes, right: bool) -> None:
    """Draw an answer's border and sign.

    Args:
        axes: of its picture.
        right: whether it is the query's person.
    """
    _border(axes, RIGHT if right else WRONG, "-" if right else DASHES, "✓" if right else "✗")


def _border(axes: Axes, colour: str, line: object, mark: str) -> None:
    frame = Rectangle((0, 0), 1, 1, transform=axes.transAxes, fill=False, edgecolor=colour, linewidth=2.6)
    frame.set(linestyle=line, clip_on=False)
    axes.add_patch(frame)
    if mark:
        box = {"boxstyle": "circle,pad=0.12", "facecolor": "white", "edgecolor": colour, "linewidth": 0.8}
        text = axes.text(0.86, 0.07, mark, color=colour, fontsize=7, weight="bold", bbox=box)
        text.set(ha="center", va="center", transform=axes.transAxes)
