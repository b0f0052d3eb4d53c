"""What PRID2011, iLIDS-VID and VIPeR share: two cameras, and halves of the people, divided ten times."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from reid_core.data.readers._files import ReaderError, folder_names, image_names, require_folder
from reid_core.data.samplers import mix

SPLITS = 10
"""Divisions of the people that results are averaged over (Wang et al., ECCV 2014)."""


def require_split(dataset: str, split: int) -> None:
    """ReaderError unless `split` is one of the ten."""
    if not 0 <= split < SPLITS:
        raise ReaderError(f"{dataset}: got split {split}; expected 0 to {SPLITS - 1}")


def drawn_half(people: Iterable[int], split: int) -> list[int]:
    """Half of the people, by a hash of split and pid: the same on every machine.

    >>> len(drawn_half(range(10), 0)), drawn_half(range(10), 0) == drawn_half(range(10), 1)
    (5, False)
    """
    drawn = sorted(people, key=lambda pid: mix(split, pid))
    return sorted(drawn[: len(drawn) // 2])


def divide(table: pd.DataFrame, train: Iterable[int]) -> pd.DataFrame:
    """Rows with their split: `train` people to train; of the others, camera 1 is query and 2 gallery."""
    in_train = np.isin(table["pid"], list(train))
    split = np.where(in_train, "train", np.where(table["camid"] == 1, "query", "gallery"))
    order = np.argsort(np.select([in_train, split == "query"], [0, 1], 2), kind="stable")
    return table.assign(split=split).iloc[order]


def sequences(root: Path, cameras: tuple[str, str], dataset: str) -> pd.DataFrame:
    """Rows of two folders, one per camera, with one folder per person: path, pid, camid, tracklet, frame.

    Args:
        root: the data set's folder.
        cameras: the two cameras' folders, POSIX and relative; they get camid 1 and 2.
        dataset: its name, for errors.

    Returns:
        the rows; pid is the number in a person's folder name, frame the number that ends a file's name.

    Raises:
        FileNotFoundError: a camera's folder is missing.
        ReaderError: a folder or file name holds no number.
    """
    paths: list[str] = []
    rows: list[np.ndarray] = []
    for camid, camera in enumerate(cameras, 1):
        folder = require_folder(root / camera, dataset, "a folder of frames a person, such as person_0001")
        for person in folder_names(folder):
            names = image_names(folder / person)
            frames = [_number(folder / person / name) for name in names]
            paths += [f"{camera}/{person}/{name}" for name in names]
            part = np.empty((len(names), 4), dtype=np.int64)
            part[:] = (_number(folder / person), camid, len(rows), 0)
            part[:, 3] = frames
            rows.append(part)
    if not paths:
        raise ReaderError(f"{dataset}: {root} holds no image below {' and '.join(cameras)}")
    table = pd.DataFrame(np.concatenate(rows), columns=["pid", "camid", "tracklet", "frame"])
    table.insert(0, "path", paths)
    return table


def _number(path: Path) -> int:
    """The number that ends a name: 317 of cam1_person001_00317.png."""
    stem = path.stem
    digits = stem[len(stem.rstrip("0123456789")) :]
    if not digits:
        raise ReaderError(f"{path}: expected a name that ends in a number, such as person_0001 or 0001.png")
    return int(digits)
