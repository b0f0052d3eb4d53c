"""Boxes in the text format of the MOT challenge: one line per box, frames and pixels counted from 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from reid_core.files import atomic

COLUMNS = ("frame", "track", "left", "top", "width", "height", "score")
"""Of a line: frame,id,left,top,width,height,confidence; what follows (world coordinates) is not read."""


class MotError(ValueError):
    """A file that is none of the MOT challenge's; the message names it and the line."""


def read_mot(path: str | Path) -> pd.DataFrame:
    """Read a file of detections (id -1) or tracks.

    Args:
        path: the file.

    Returns:
        Columns frame (int, from 0), track (int, -1 for none), left, top, right, bottom (pixels, from 0) and
        score, by frame in the file's order; boxes of no area and those marked by confidence 0 (not to be
        considered) are left out.

    Raises:
        FileNotFoundError: there is no such file.
        MotError: a line isn't six or more numbers.
    """
    rows = []
    with open(path, encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                values = [float(value) for value in line.split(",")[: len(COLUMNS)]]
            except ValueError:
                values = []
            if len(values) < len(COLUMNS) - 1 or not np.isfinite(values).all() or values[0] < 1:
                raise MotError(
                    f"{path}, line {number}: got {line.strip()[:80]!r}; expected "
                    "frame,id,left,top,width,height,confidence, numbers, frames from 1"
                )
            rows.append((*values, 1.0)[: len(COLUMNS)])
    table = pd.DataFrame(rows, columns=list(COLUMNS), dtype=float)
    table = table[(table["width"] > 0) & (table["height"] > 0) & (table["score"] != 0)]
    table = table.sort_values("frame", kind="stable", ignore_index=True)
    left, top = table["left"] - 1, table["top"] - 1
    return pd.DataFrame(
        {
            "frame": table["frame"].astype(np.int64) - 1,
            "track": table["track"].astype(np.int64),
            "left": left,
            "top": top,
            "right": left + table["width"],
            "bottom": top + table["height"],
            "score": table["score"],
        }
    )


def write_mot(path: str | Path, boxes: pd.DataFrame) -> None:
    """Write boxes with ids, whole or not at all.

    Args:
        path: the file; its folder is made.
        boxes: as `read_mot` returns them.

    Example:
        >>> import tempfile
        >>> boxes = pd.DataFrame(
        ...     [(0, 7, 1.5, 2.0, 11.5, 22.0, 0.9)],
        ...     columns=["frame", "track", "left", "top", "right", "bottom", "score"],
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_mot(f"{folder}/a.txt", boxes)
        ...     Path(folder, "a.txt").read_text(), read_mot(f"{folder}/a.txt").equals(boxes)
        ('1,7,2.50,3.00,10.00,20.00,0.9000,-1,-1,-1\\n', True)
    """
    sizes = boxes["right"] - boxes["left"], boxes["bottom"] - boxes["top"]
    columns = (boxes["frame"] + 1, boxes["track"], boxes["left"] + 1, boxes["top"] + 1, *sizes)
    with atomic(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for frame, track, left, top, width, height, score in zip(*columns, boxes["score"], strict=True):
            box = f"{left:.2f},{top:.2f},{width:.2f},{height:.2f}"
            file.write(f"{frame},{track},{box},{score:.4f},-1,-1,-1\n")
