"""LUPerson-NL (Fu et al., "Large-Scale Pre-training for Person Re-identification with Noisy Labels")."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd

from reid_core.data.lmdb_images import keys
from reid_core.data.manifest import Manifest
from reid_core.data.readers._annotations import read_annotations
from reid_core.data.readers._files import ReaderError, parse_names, walk_images
from reid_core.data.readers.lmdb import lmdb_file

NAME = re.compile(r"(\d+)_(\d+)_(\d+)\.jpe?g", re.IGNORECASE)
WANTED = "pid_frame_box.jpg, such as 000012_0000340_01.jpg"
KEY = re.compile(r"(\d+)_(\d+)_(\d+)_(\d+)")
WANTED_KEY = "video_pid_frame_box, such as 00001_000012_0000340_01"


def read_luperson_nl(root: str | Path, annotations: str | None = None) -> Manifest:
    """Read LUPerson-NL: the tracker's noisy labels as pids, in the split "train".

    Three forms are read: images as extract.py of its repository writes them (country/city/video/NAME.jpg, the
    name beginning with the label), the LMDB of its convert_lmdb.py (keys video_label_frame_box), and JSON
    annotations as CION-AL's. A pid is the label plus 1 (0 means distractor in a manifest); a label before one
    video is a tracklet.

    Args:
        root: the folder of images, or the one that holds data.mdb or lmdb/data.mdb.
        annotations: a JSON file below `root`, a list of {"id": ..., "file_path": ...}.

    Returns:
        the manifest, by video, label and frame.

    Raises:
        FileNotFoundError: a folder or file is missing.
        ReaderError: a name, key or annotation can't be parsed, or nothing is there.
    """
    if annotations is not None:
        return Manifest(read_annotations(Path(root), annotations, "luperson_nl"), Path(root), "luperson_nl")
    file = lmdb_file(root, "luperson_nl")
    base = Path(root) if file is None else file.parent
    paths: list[str] = []
    parts: list[np.ndarray] = []
    groups = _folders(base) if file is None else _videos(file)
    for video, (prefix, names, fields) in enumerate(groups):
        paths += [f"{prefix}/{name}" if prefix else name for name in names]
        parts.append(np.column_stack([fields, np.full(len(fields), video)]))
    if not paths:
        raise ReaderError(f"luperson_nl: {root} holds no image; expected country/city/video/{WANTED}")
    label, frame, video = np.concatenate(parts).T
    _, tracklet = np.unique(video * (label.max() + 1) + label, return_inverse=True)
    columns = {"path": paths, "pid": label + 1, "split": "train", "tracklet": tracklet}
    return Manifest(pd.DataFrame({**columns, "frame": frame, "video": video}), base, "luperson_nl")


Group = tuple[str, list[str], np.ndarray]
"""A video's path prefix, its images' names, and their labels and frames, int64 [n 2]."""


def _folders(root: Path) -> Iterator[Group]:
    for folder, names in walk_images(root):
        fields = np.array(parse_names(names, NAME, root / folder, WANTED), dtype=np.int64)
        yield folder, names, fields[:, :2]


def _videos(file: Path) -> Iterator[Group]:
    for _, group in groupby(keys(file), key=lambda key: key.partition("_")[0]):
        names = list(group)
        fields = np.array(parse_names(names, KEY, file, WANTED_KEY), dtype=np.int64)
        yield file.name, names, fields[:, 1:3]
