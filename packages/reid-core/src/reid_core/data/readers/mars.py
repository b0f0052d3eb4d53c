"""MARS (Zheng et al., "MARS: A Video Benchmark for Large-Scale Person Re-identification", ECCV 2016)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from reid_core.data.manifest import Manifest
from reid_core.data.readers._files import (
    ReaderError,
    parse_names,
    require_file,
    require_folder,
    text_lines,
)
from reid_core.data.readers._matlab import matrix

NAME = re.compile(r"(00-1|\d{4})C(\d+)T(\d+)F(\d+)\.jpe?g", re.IGNORECASE)
WANTED = "{pid}C{camera}T{tracklet}F{frame}.jpg, such as 0001C1T0001F001.jpg"


def read_mars(root: str | Path) -> Manifest:
    """Read MARS: bbox_train is train; all test tracklets are gallery, and query_IDX's are query as well.

    So does the release's test_mars.m: its gallery is all 12,180 test tracklets. A query tracklet's rows stand
    in both splits, its tracklet with another number in each. The rule that leaves out the query's own person
    from its own camera keeps it from finding itself, and another query of the person is a right answer.

    The tracklets are those of info/tracks_*_info.mat (rows of start, end, pid, camid; start and end are
    1-based lines of info/*_name.txt). Junk tracklets (folder 00-1) have pid -1, distractors pid 0. That the
    image files are there is not checked one by one.

    Args:
        root: the folder with bbox_train, bbox_test and info (the MARS-evaluation repository's info folder).

    Returns:
        the manifest: train, query, gallery. Tracklets are numbered from 0: train's, then the gallery's in the
        order of the files, then the queries'.

    Raises:
        FileNotFoundError: a folder or file is missing.
        ReaderError: a name can't be parsed, a tracklet's row and its names disagree, or a split is empty.
    """
    root = Path(root)
    table = mars_table(root, "mars")
    train, query = (table[table["split"] == split] for split in ("train", "query"))
    gallery = table[table["split"] != "train"].assign(split="gallery")
    numbers = query["tracklet"].drop_duplicates()
    again = pd.Series(int(table["tracklet"].max()) + 1 + np.arange(len(numbers)), index=numbers)
    query = query.assign(tracklet=query["tracklet"].map(again))
    return Manifest(pd.concat([train, query, gallery], ignore_index=True), root, "mars")


def mars_table(root: Path, dataset: str) -> pd.DataFrame:
    """The rows of a data set in MARS's layout, for `read_mars` and others of that layout.

    Args:
        root: as for `read_mars`.
        dataset: its name, for errors.

    Returns:
        columns path, pid, camid, split, tracklet, frame; each row once, a query's in the split query alone.
    """
    require_folder(root, dataset, "a folder with bbox_train, bbox_test and info")
    query_file = require_file(
        root / "info" / "query_IDX.mat", dataset, "the 1-based test rows of the query tracklets"
    )
    queries = matrix(query_file).reshape(-1)
    train = _part(root, "train", dataset, first_tracklet=0)
    train["split"] = "train"
    test_start = int(train["tracklet"].iloc[-1]) + 1
    test = _part(root, "test", dataset, first_tracklet=test_start)
    count = int(test["tracklet"].iloc[-1]) + 1 - test_start
    if not len(queries) or queries.min() < 1 or queries.max() > count or len(queries) == count:
        raise ReaderError(
            f"{query_file}: got {len(queries)} rows, the greatest {queries.max(initial=0)}; "
            f"expected some, not all, of the test tracklets 1 to {count}"
        )
    is_query = np.isin(test["tracklet"].to_numpy() - test_start + 1, queries)
    test["split"] = np.where(is_query, "query", "gallery")
    return pd.concat([train, test], ignore_index=True)


def _part(root: Path, part: str, dataset: str, first_tracklet: int) -> pd.DataFrame:
    """Rows of train or test, without their split; tracklets are numbered on from `first_tracklet`."""
    folder = require_folder(root / f"bbox_{part}", dataset, f"folders of {part} images, one an identity")
    names_file = require_file(root / "info" / f"{part}_name.txt", dataset, "one image name a line")
    tracks_file = require_file(
        root / "info" / f"tracks_{part}_info.mat", dataset, "rows of start, end, pid, camid"
    )
    names = [name for line in text_lines(names_file) for name in line.split()]
    fields = parse_names(names, NAME, folder, WANTED)
    tracks = matrix(tracks_file)
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
