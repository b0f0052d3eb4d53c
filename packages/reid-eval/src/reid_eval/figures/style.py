"""What all figures share: a palette for any colour vision, and writing files whole."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reid_eval.saving import write_whole

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, distinguishable with any colour vision."""

LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DPI = 150
SAVING: dict[Any, Any] = {"pdf.fonttype": 42, "svg.hashsalt": "reid-eval"}
"""Publishers refuse Type 3 fonts; the salt gives equal SVG files for equal figures."""


def line_style(number: int) -> dict[str, Any]:
    """Colour, dash and marker of a figure's n-th curve, so that they differ in print without colour too.

    Example:
        >>> line_style(1)["linestyle"], line_style(1)["marker"]
        ('--', 's')
    """
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": LINES[number % len(LINES)],
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 4.5,
    }


def new_axes() -> tuple[Figure, Axes]:
    """An empty figure of a column's width with one pair of axes; nothing of pyplot's state is touched."""
    figure, row = new_row(1)
    return figure, row[0]


def new_row(panels: int) -> tuple[Figure, list[Axes]]:
    """An empty figure with so many pairs of axes side by side, all with the first one's y axis."""
    figure = Figure(figsize=(1.2 + 4.0 * panels, 3.8), dpi=DPI, layout="constrained")
    row = list(figure.subplots(1, panels, sharey=True, squeeze=False)[0])
    for axes in row:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, row


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure under a temporary name, then rename it, so that a reader never meets half a picture.

    Args:
        figure: what one of the `*_figure` functions returned.
        path: file to write, its folder is made; the ending says the format (png, pdf, svg).

    Returns:
        The path written.

    Raises:
        ValueError: a format that matplotlib doesn't write.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_figure(new_axes()[0], f"{folder}/empty.svg").name
        'empty.svg'
    """
    path = Path(path)
    kind = path.suffix.lstrip(".").lower() or "png"
    if kind not in figure.canvas.get_supported_filetypes():
        raise ValueError(f"{path}: no figure can be written as .{kind}; end the name in .png, .pdf or .svg")
    with matplotlib.rc_context(SAVING):
        return write_whole(path, lambda temporary: figure.savefig(temporary, format=kind))


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file.

    Example:
        >>> png(new_axes()[0])[1:4]
        b'PNG'
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
