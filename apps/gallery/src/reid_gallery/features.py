"""A feature folder: the rows of a manifest, one feature each, and which model made them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reid_core.data import Manifest
from reid_core.files import read_summary
from reid_core.models import Features, valid_path

ROWS_FILE, FEATURES_FILE = "rows.parquet", "features.npy"
FORGOTTEN = "forgotten/{:09d}"
"""Path of a row whose person has been forgotten: rows keep their places, so that an index stays true."""


@dataclass(frozen=True)
class Made:
    """How a feature folder was made.

    Attributes:
        model: as it was given: a folder, a hub's name or an exported file.
        digest: of the model's weights and preprocessing.
        preprocessing: options of an exported file that says none itself.
        metric: how features are compared.
        dim: length of a feature.
        images: number of rows.
        unreadable: rows without a feature.
    """

    model: str
    digest: str
    preprocessing: dict[str, Any]
    metric: str
    dim: int
    images: int
    unreadable: int


def open_features(folder: str | Path) -> tuple[Features, Made]:
    """The features of a finished folder, memory-mapped.

    Args:
        folder: as `reid-gallery embed` writes it.

    Raises:
        ValueError: the folder isn't finished, or its files don't fit one another.
    """
    folder = Path(folder)
    try:
        summary = read_summary(folder)
        made = summary and Made(**summary)
    except (json.JSONDecodeError, TypeError) as error:
        raise ValueError(f"{folder} is no feature folder: its done.json is damaged ({error})") from error
    if not made:
        raise ValueError(
            f"{folder} holds no finished features: run `reid-gallery embed SOURCE --out {folder}`"
        )
    rows = Manifest.load(folder / ROWS_FILE)
    array = np.load(folder / FEATURES_FILE, mmap_mode="r", allow_pickle=False)
    valid = np.load(folder / valid_path(FEATURES_FILE), allow_pickle=False)
    if array.shape != (len(rows), made.dim) or array.dtype != np.float32 or valid.shape != (len(rows),):
        raise ValueError(
            f"{folder}: {FEATURES_FILE} is {array.dtype} {list(array.shape)}, its mask {list(valid.shape)}; "
            f"expected float32 [{len(rows)}, {made.dim}] and [{len(rows)}]: embed again"
        )
    return Features(array, rows, valid.astype(bool)), made


def plain(made: Made) -> dict[str, Any]:
    """What `open_features` reads back from done.json.

    Args:
        made: how the folder was made.
    """
    return asdict(made)
