"""LS-VID (Li et al., "Global-Local Temporal Representations For Video Person Re-Identification", 2019)."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd

from reid_core.data.manifest import Manifest
from reid_core.data.readers._files import (
    ReaderError,
    base_folder,
    image_names,
    labelled_paths,
    parse_names,
    require_file,
)
from reid_core.data.readers._matlab import integers, matrix

NAME = re.compile(r"(\d+)_(\d+)_(\d+)_(\d+)\.jpe?g", re.IGNORECASE)
WANTED = "pid_tracklet_camera_frame.jpg"
LISTS = "list_sequence"


def read_ls_vid(root: str | Path) -> Manifest:
    """Read LS-VID: the tracklets of list_seq_train.txt are train; of list_seq_test.txt's, some are query.

    A list's line is the beginning of a tracklet's file names (tracklet_train/0000/...) and a label. A
    training person's pid is the label plus 1 (0 means distractor in a manifest), and the test people's pids
    follow the training people's, whether or not the lists number them together. The queries are 1-based
    lines of list_seq_test.txt: the variable "query" of test/data/info_test.mat, or test/query.npy. The
    validation part (list_seq_val.txt) is left out, as in papers. The layout is as public code reads it; that
    code takes the third number of a file name for the camera.

    Args:
        root: the folder with list_sequence, tracklet_train, tracklet_test and test, or that of LS-VID.

    Returns:
        the manifest, with tracklets numbered from 0: train's, then test's, in the order of the lists.

    Raises:
        FileNotFoundError: a folder, list or the queries' file is missing.
        ReaderError: a line or name can't be parsed, a tracklet has no image, or queries beyond the list.
    """
    expected = "list_sequence, tracklet_train, tracklet_test and test"
    root = base_folder(root, "ls_vid", ("LS-VID", "info"), LISTS, expected)
    images = root.parent if root.name == "info" else root
    train = _list_rows(images, root / LISTS / "list_seq_train.txt", first_pid=1, first_tracklet=0)
    first, after = int(train["pid"].max()) + 1, int(train["tracklet"].iloc[-1]) + 1
    test = _list_rows(images, root / LISTS / "list_seq_test.txt", first_pid=first, first_tracklet=after)
    queries, file = _queries(root)
    count = int(test["tracklet"].iloc[-1]) + 1 - after
    if not len(queries) or queries.min() < 1 or queries.max() > count:
        raise ReaderError(
            f"{file}: got {len(queries)} queries, the greatest {queries.max(initial=0)}; expected lines 1 to "
            f"{count} of list_seq_test.txt"
        )
    train["split"] = "train"
    test["split"] = np.where(np.isin(test["tracklet"] - after + 1, queries), "query", "gallery")
    return Manifest(pd.concat([train, test], ignore_index=True), images, "ls_vid")


def _queries(root: Path) -> tuple[np.ndarray, Path]:
    """The queries' lines, and the file that says them."""
    array = root / "test" / "query.npy"
    if array.is_file():
        return integers(np.load(array, allow_pickle=False), str(array)).reshape(-1), array
    file = next((path for path in (root / "data", root / "test" / "data") if path.is_dir()), root / "test")
    file = require_file(file / "info_test.mat", "ls_vid", "the queries (or test/query.npy)")
    return matrix(file, "query").reshape(-1), file


def _list_rows(root: Path, file: Path, first_pid: int, first_tracklet: int) -> pd.DataFrame:
    """Rows of a list's tracklets, without their split."""
    entries = labelled_paths(file, "ls_vid")
    by_folder: defaultdict[str, dict[str, int]] = defaultdict(dict)  # folder -> beginning -> entry
    for number, (beginning, _) in enumerate(entries):
        folder, _, start = beginning.rpartition("/")
        by_folder[folder][start.rstrip("_")] = number
    images: list[list[str]] = [[] for _ in entries]
    for folder, beginnings in by_folder.items():
        for name in image_names(root / folder) if (root / folder).is_dir() else []:
            # Whole parts of a name are compared: 0_1 is no beginning of 0_12_3_4.jpg.
            parts = name.split("_")
            starts = ("_".join(parts[:count]) for count in range(1, len(parts)))
            number = next((beginnings[start] for start in starts if start in beginnings), -1)
            if number >= 0:
                images[number].append(name)
    paths: list[str] = []
    rows = []
    for number, (beginning, label) in enumerate(entries):
        if not images[number]:
            raise ReaderError(f"{file}: entry {number + 1}: there is no image {root / beginning}*")
        folder = beginning.rpartition("/")[0]
        fields = np.array(parse_names(images[number], NAME, root / folder, WANTED), dtype=np.int64)
        fields[:, :2] = (label + first_pid, first_tracklet + number)
        paths += [f"{folder}/{name}" for name in images[number]]
        rows.append(fields)
    table = pd.DataFrame(np.concatenate(rows), columns=["pid", "tracklet", "camid", "frame"])
    table.insert(0, "path", paths)
    return table
