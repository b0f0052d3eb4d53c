"""MARS (Zheng et al., "MARS: A Video Benchmark for Large-Scale Person Re-identification", ECCV 2016)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.io import loadmat

from reid_core.manifest import Manifest
from reid_core.readers._files import ReaderError, parse_names, require_file, require_folder

OFFICIAL_TRACKLETS = {"train": 8298, "query": 1980, "gallery": 10200}
"""Tracklets a split in the release (gallery: the 12180 test tracklets without the query ones)."""
NAME = re.compile(r"(00-1|\d{4})C(\d+)T(\d+)F(\d+)\.jpe?g", re.IGNORECASE)
WANTED = "{pid}C{camera}T{tracklet}F{frame}.jpg, such as 0001C1T0001F001.jpg"


def read_mars(root: str | Path) -> Manifest:
    """Read MARS: bbox_train is train; of the test tracklets, query_IDX's are query and the others gallery.

    The tracklets are those of info/tracks_*_info.mat (rows of start, end, pid, camid; start and end are
    1-based lines of info/*_name.txt). Junk tracklets (folder 00-1) have pid -1, distractors pid 0. That the
    image files are there is not checked one by one.

    Args:
        root: the folder with bbox_train, bbox_test and info (the MARS-evaluation repository's info folder).

    Returns:
        the manifest, with tracklets numbered from 0: train's, then test's, in the order of the files.

    Raises:
        FileNotFoundError: a folder or file is missing.
        ReaderError: a name can't be parsed, a tracklet's row and its names disagree, or a split is empty.
    """
    root = Path(root)
    require_folder(root, "mars", "a folder with bbox_train, bbox_test and info")
    query_file = require_file(
        root / "info" / "query_IDX.mat", "mars", "the 1-based test rows of the query tracklets"
    )
    queries = _matrix(query_file).reshape(-1)
    train = _part(root, "train", first_tracklet=0)
    train["split"] = "train"
    test_start = int(train["tracklet"].iloc[-1]) + 1
    test = _part(root, "test", first_tracklet=test_start)
    count = int(test["tracklet"].iloc[-1]) + 1 - test_start
    if not len(queries) or queries.min() < 1 or queries.max() > count or len(queries) == count:
        raise ReaderError(
            f"{query_file}: got {len(queries)} rows, the greatest {queries.max(initial=0)}; "
            f"expected some, not all, of the test tracklets 1 to {count}"
        )
    is_query = np.isin(test["tracklet"].to_numpy() - test_start + 1, queries)
    test["split"] = np.where(is_query, "query", "gallery")
    return Manifest(pd.concat([train, test], ignore_index=True), root, "mars")


def _matrix(path: Path) -> np.ndarray:
    """The only matrix of a .mat file, int64; its variable's name differs among copies of the release."""
    values = [value for key, value in loadmat(path).items() if not key.startswith("__")]
    if len(values) != 1:
        raise ReaderError(f"{path}: holds {len(values)} variables; expected one matrix")
    return np.asarray(values[0]).astype(np.int64)


def _part(root: Path, part: str, first_tracklet: int) -> pd.DataFrame:
    """Rows of train or test, without their split; tracklets are numbered on from `first_tracklet`."""
    folder = require_folder(root / f"bbox_{part}", "mars", f"folders of {part} images, one an identity")
    names_file = require_file(root / "info" / f"{part}_name.txt", "mars", "one image name a line")
    tracks_file = require_file(
        root / "info" / f"tracks_{part}_info.mat", "mars", "rows of start, end, pid, camid"
    )
    names = names_file.read_text().split()
    fields = parse_names(names, NAME, folder, WANTED)
    tracks = _matrix(tracks_file)
    if tracks.ndim != 2 or tracks.shape[1] != 4 or not len(tracks):
        raise ReaderError(f"{tracks_file}: got a matrix of shape {tracks.shape}; expected [tracklets 4]")
    starts, ends, pids, camids = tracks.T
    bad = np.flatnonzero((starts < 1) | (ends < starts) | (ends > len(names)))
    if len(bad):
        row = int(bad[0])
        raise ReaderError(
            f"{tracks_file}: row {row + 1} is lines {starts[row]} to {ends[row]}; "
            f"expected 1 <= start <= end <= {len(names)}, the lines of {names_file.name}"
        )
    lengths = ends - starts + 1
    # Lines of all tracklets one after the other: a running count within each, moved to its start.
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    lines = np.repeat(starts - 1, lengths) + within
    tracklet = np.repeat(np.arange(len(tracks)), lengths)
    name_pid = np.array([-1 if pid == "00-1" else int(pid) for pid, *_ in fields], dtype=np.int64)[lines]
    name_camid = np.array([int(camid) for _, camid, *_ in fields], dtype=np.int64)[lines]
    wrong = np.flatnonzero((name_pid != pids[tracklet]) | (name_camid != camids[tracklet]))
    if len(wrong):
        at = int(wrong[0])
        row = int(tracklet[at])
        raise ReaderError(
            f"{tracks_file}: row {row + 1} says pid {pids[row]}, camera {camids[row]}, "
            f"but line {lines[at] + 1} of {names_file.name} is {names[lines[at]]}"
        )
    return pd.DataFrame(
        {
            "path": [f"bbox_{part}/{fields[line][0]}/{names[line]}" for line in lines],
            "pid": name_pid,
            "camid": name_camid,
            "tracklet": tracklet + first_tracklet,
            "frame": within,
        }
    )
