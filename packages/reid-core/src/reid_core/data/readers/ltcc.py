"""LTCC (Qian et al., "Long-Term Cloth-Changing Person Re-identification", ACCV 2020)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from reid_core.data.manifest import Manifest
from reid_core.data.readers._files import ReaderError, base_folder, parsed_images

FOLDERS = {"train": "train", "query": "query", "gallery": "test"}
PROTOCOLS = ("general", "cloth_changing")
NAME = re.compile(r"(\d+)_(\d+)_c(\d+)_(\d+)\.png", re.IGNORECASE)
WANTED = "pid_clothes_cCamera_index.png, such as 094_1_c9_015923.png"
CLOTHES_STRIDE = 100
"""Outfits are numbered a person: clothes = pid * CLOTHES_STRIDE + the outfit's number."""


def read_ltcc(root: str | Path, protocol: Literal["general", "cloth_changing"] = "general") -> Manifest:
    """Read LTCC; its people are numbered from 0 in the release and from 1 here (0 means distractor).

    Both protocols train on all people and search the whole gallery. In the cloth-changing one, evaluation
    leaves out what shows the query's person in the query's clothes (column ``clothes``), so the queries are
    those whose person the gallery shows in other clothes too.

    Args:
        root: the folder with train, query and test, or the one that holds LTCC_ReID.
        protocol: general, or cloth_changing.

    Returns:
        the manifest, by split and file name.

    Raises:
        FileNotFoundError: a folder is missing.
        ReaderError: a name can't be parsed, a folder is empty, an unknown protocol, or no query is left.
    """
    if protocol not in PROTOCOLS:
        raise ReaderError(f"ltcc: got protocol {protocol!r}; expected one of {', '.join(PROTOCOLS)}")
    root = base_folder(root, "ltcc", ("LTCC_ReID",), "train", f"the folders {', '.join(FOLDERS.values())}")
    parts = {}
    for split, sub in FOLDERS.items():
        paths, names = parsed_images(root, sub, "ltcc", NAME, WANTED)
        pid, outfit, camid, frame = np.array(names, dtype=np.int64).T
        pid = pid + 1
        clothes = pid * CLOTHES_STRIDE + outfit
        parts[split] = pd.DataFrame(
            {"path": paths, "pid": pid, "camid": camid, "split": split, "frame": frame, "clothes": clothes}
        )
    if protocol == "general":
        return Manifest(pd.concat(parts.values(), ignore_index=True), root, "ltcc")
    outfits = parts["gallery"].groupby("pid")["clothes"].agg(["min", "max"])
    seen = outfits.reindex(
        parts["query"]["pid"]
    )  # a person the gallery lacks gives NaN, which equals nothing
    worn = parts["query"]["clothes"].to_numpy()
    others = seen.notna().all(axis=1).to_numpy() & (seen != worn[:, None]).any(axis=1).to_numpy()
    if not others.any():
        raise ReaderError(f"ltcc: in {root} no query's person changes clothes in the gallery")
    parts["query"] = parts["query"][others]
    return Manifest(pd.concat(parts.values(), ignore_index=True), root, "ltcc_cloth_changing")
