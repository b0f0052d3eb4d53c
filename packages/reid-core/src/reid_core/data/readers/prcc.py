"""PRCC (Yang et al., "Person Re-identification by Contour Sketch under Moderate Clothing Change", 2019)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from reid_core.data.manifest import Manifest
from reid_core.data.readers._files import ReaderError, base_folder, folder_names, parsed_images

CAMERAS = {"A": 1, "B": 2, "C": 3}
"""A and B see a person in the same clothes, C in others."""
QUERIES = {"cloth_changing": "C", "same_clothes": "B"}
TRAIN_NAME = re.compile(r"([ABC])_cropped_rgb(\d+)\.jpe?g", re.IGNORECASE)
TEST_NAME = re.compile(r"cropped_rgb(\d+)\.jpe?g", re.IGNORECASE)


def read_prcc(
    root: str | Path,
    protocol: Literal["cloth_changing", "same_clothes"] = "cloth_changing",
    val: bool = False,
) -> Manifest:
    """Read PRCC's RGB images: camera A is the gallery, camera C (other clothes) or B (the same) the query.

    Cameras A, B, C are camid 1, 2, 3. A person has two outfits: clothes = 2 pid before A and B, 2 pid + 1
    before C. The published protocol draws one gallery image a person, ten times; all are in the manifest.

    Args:
        root: the folder prcc, or prcc/rgb, or the one that holds prcc.
        protocol: which queries.
        val: add rgb/val, further images of the training people, to the training images.

    Returns:
        the manifest: train, query, gallery, by person.

    Raises:
        FileNotFoundError: a folder is missing.
        ReaderError: a folder or file name can't be parsed, a folder is empty, or an unknown protocol.
    """
    if protocol not in QUERIES:
        raise ReaderError(f"prcc: got protocol {protocol!r}; expected one of {', '.join(QUERIES)}")
    root = base_folder(root, "prcc", ("rgb", "prcc/rgb"), "test/A", "rgb/train, rgb/test/A, rgb/test/B, ...")
    parts = [_people(root, "train", "train", None)]
    if val:
        parts.append(_people(root, "val", "train", None))
    parts.append(_people(root, f"test/{QUERIES[protocol]}", "query", QUERIES[protocol]))
    parts.append(_people(root, "test/A", "gallery", "A"))
    name = "prcc_same_clothes" if protocol == "same_clothes" else "prcc"
    return Manifest(pd.concat(parts, ignore_index=True), root, name)


def _people(root: Path, sub: str, split: str, camera: str | None) -> pd.DataFrame:
    """Rows of a folder of folders, one a person; `camera` is in the names (train) where None."""
    pattern = TRAIN_NAME if camera is None else TEST_NAME
    wanted = "A_cropped_rgb001.jpg" if camera is None else "cropped_rgb001.jpg"
    parts = []
    for person in folder_names(root / sub) if (root / sub).is_dir() else []:
        if not person.isdigit():
            raise ReaderError(f"prcc: {root / sub / person}: expected a folder a person, such as 001")
        paths, names = parsed_images(root, f"{sub}/{person}", "prcc", pattern, wanted)
        camid = np.array([CAMERAS[camera or name[0].upper()] for name in names])
        columns = {"path": paths, "pid": int(person), "camid": camid, "split": split}
        frame = np.array([name[-1] for name in names], dtype=np.int64)
        clothes = 2 * int(person) + (camid == CAMERAS["C"])
        parts.append(pd.DataFrame({**columns, "frame": frame, "clothes": clothes}))
    if not parts:
        raise FileNotFoundError(f"prcc: {root / sub} holds no folder of a person; expected such as {sub}/001")
    return pd.concat(parts, ignore_index=True)
