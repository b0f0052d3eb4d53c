"""CUHK01 (Li et al., "Human Reidentification with Transferred Metric Learning", ACCV 2012)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from reid_core.data.manifest import Manifest
from reid_core.data.readers._files import ReaderError, base_folder, parsed_images
from reid_core.data.samplers import mix

FOLDER = "campus"
NAME = re.compile(r"(\d{4})(\d{3})\.png", re.IGNORECASE)
WANTED = "PPPPKKK.png: person, then image, such as 0001001.png"
VIEW_IMAGES = 2
"""Images in each view: 001 and 002 are view A, 003 and 004 view B."""
TRAIN_PEOPLE = 485
"""Of the 971; the other 486 are for test."""
SHOTS = ("multi", "single")


def read_cuhk01(root: str | Path, shot: Literal["multi", "single"] = "multi", seed: int = 0) -> Manifest:
    """Read CUHK01: half of the people train; queries are of view A, the gallery of view B.

    The views A and B are camid 1 and 2. The published protocol draws 485 training and 486 test people, ten
    times; here by a hash of seed and pid, so that numbers are comparable with papers' only on average over
    seeds. The other published division (871 and 100 people) is not read.

    Args:
        root: the folder with campus, that folder itself, or the one that holds CUHK01.
        shot: "multi": both images of a person in view B are gallery; "single": one of them, by the seed.
        seed: of the division, and of the single shots.

    Returns:
        the manifest: train, query, gallery, by file name; its name is cuhk01, or cuhk01_single_shot.

    Raises:
        FileNotFoundError: a folder is missing.
        ReaderError: a name can't be parsed, fewer people than are drawn for training, or an unknown shot.
    """
    if shot not in SHOTS:
        raise ReaderError(f"cuhk01: got shot {shot!r}; expected one of {', '.join(SHOTS)}")
    root = Path(root)
    if root.name == FOLDER:
        root = root.parent
    root = base_folder(root, "cuhk01", ("CUHK01",), FOLDER, f"the folder {FOLDER}")
    paths, names = parsed_images(root, FOLDER, "cuhk01", NAME, WANTED)
    pid, image = np.array(names, dtype=np.int64).T
    people = sorted(np.unique(pid).tolist(), key=lambda person: mix(seed, person))
    if len(people) <= TRAIN_PEOPLE:
        raise ReaderError(
            f"cuhk01: {root / FOLDER} holds {len(people)} people; expected more than {TRAIN_PEOPLE}, which "
            "are for training"
        )
    camid = np.where(image <= VIEW_IMAGES, 1, 2)
    split = np.where(np.isin(pid, people[:TRAIN_PEOPLE]), "train", np.where(camid == 1, "query", "gallery"))
    table = pd.DataFrame({"path": paths, "pid": pid, "camid": camid, "split": split})
    if shot == "single":
        gallery = np.flatnonzero(split == "gallery")
        draw = [mix(seed, *key) for key in zip(pid[gallery].tolist(), image[gallery].tolist(), strict=True)]
        shuffled = gallery[np.argsort(draw)]
        _, first = np.unique(pid[shuffled], return_index=True)
        table = table.drop(index=np.setdiff1d(gallery, shuffled[first]))
    order = table["split"].map({"train": 0, "query": 1, "gallery": 2}).argsort(kind="stable")
    return Manifest(table.iloc[order], root, "cuhk01_single_shot" if shot == "single" else "cuhk01")
