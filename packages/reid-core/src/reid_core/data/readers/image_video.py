"""Image-video mix, as BRIAR's protocols: any set of query images against any gallery of tracklets."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from reid_core.data.manifest import UNKNOWN, Manifest
from reid_core.data.readers._files import ReaderError, folder_names, image_names, require_folder
from reid_core.data.readers.manifest_file import read_manifest_file
from reid_core.data.readers.sources import is_manifest_file

PERSON = re.compile(r"\D*(\d+)")
"""A person's folder: its number, behind letters or not (17, G00017)."""


def read_image_video(root: str | Path, query: str = "query", gallery: str = "gallery") -> Manifest:
    """Read query images and gallery tracklets of people who are numbered together.

    Either side is a folder or a manifest. A folder holds one folder per person; the query's hold images, the
    gallery's hold one folder per tracklet. BRIAR itself is given out under agreement and its layout isn't
    public: this is the form to bring its crops into. A manifest (a .parquet file that `Manifest.save` wrote)
    gives its query rows or its gallery rows. Where a side knows no camera, its camid is one that the other
    side lacks, so that evaluation takes no pair for one of the same camera.

    Args:
        root: the folder that `query` and `gallery` are relative to.
        query: folder or manifest of the query images.
        gallery: folder or manifest of the gallery's tracklets.

    Returns:
        the manifest: query (without tracklets), then gallery.

    Raises:
        FileNotFoundError: a folder is missing.
        ReaderError: a person's folder without a number, an empty side, or gallery rows without tracklets.
    """
    root = Path(root)
    sides = [_side(root, query, "query"), _side(root, gallery, "gallery")]
    base = Path(os.path.commonpath([side.root for side in sides]))
    tables = []
    for side in sides:
        prefix = side.root.relative_to(base).as_posix()
        paths = side.table["path"] if prefix == "." else prefix + "/" + side.table["path"]
        tables.append(side.table.assign(path=paths))
    images, tracklets = tables
    images["tracklet"] = UNKNOWN
    if (tracklets["tracklet"] == UNKNOWN).any():
        raise ReaderError(f"image_video: gallery {gallery!r} has images that belong to no tracklet")
    for table, other in ((images, tracklets), (tracklets, images)):
        unknown = table["camid"] == UNKNOWN
        table.loc[unknown, "camid"] = max(0, int(other["camid"].max())) + 1
    return Manifest(pd.concat(tables, ignore_index=True), base, "image_video")


def _side(root: Path, name: str, split: Literal["query", "gallery"]) -> Manifest:
    """One side's rows, in its split."""
    if is_manifest_file(name):
        return read_manifest_file(root / name).select(split)
    folder = require_folder(root / name, "image_video", f"a folder a person with the {split}")
    paths: list[str] = []
    rows: list[np.ndarray] = []
    for person in folder_names(folder):
        match = PERSON.fullmatch(person)
        if match is None:
            raise ReaderError(f"image_video: {folder / person}: expected a person's number, such as G00017")
        for below in [""] if split == "query" else [f"/{sub}" for sub in folder_names(folder / person)]:
            names = image_names(folder / f"{person}{below}")
            paths += [f"{name}/{person}{below}/{image}" for image in names]
            part = np.empty((len(names), 3), dtype=np.int64)
            part[:, :2] = (int(match[1]), len(rows))
            part[:, 2] = np.arange(len(names))
            rows.append(part)
    if not paths:
        raise ReaderError(f"image_video: {folder} holds no image; expected {split} images of people")
    table = pd.DataFrame(np.concatenate(rows), columns=["pid", "tracklet", "frame"])
    return Manifest(table.assign(path=paths, split=split), root)
