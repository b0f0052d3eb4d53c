"""The split of a data set without one: people into training and test, images into query and gallery."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reid_core.data.manifest import UNKNOWN, ManifestError
from reid_core.data.readers._files import ReaderError
from reid_core.data.samplers import mix, permutation

FRACTION = 0.5
"""Part of the people for training; Market-1501's is 751 of 1501."""


def draw_split(table: pd.DataFrame, fraction: float, seed: int, name: str) -> pd.DataFrame:
    """Draw the split of each row, the same on every machine.

    People (pid above 0) are ordered by a hash of seed and pid; the first `fraction` of them, rounded, are for
    training. Of each test person and camera one image is a query and the others are gallery, as in
    Market-1501. A camera's only image of a person is gallery, except that a person with two images or more
    has at least one query. A tracklet counts as one image, and the images of unknown camera as those of one
    camera. Rows of pid -1 become "unlabeled".

    Where all images are from one camera, that camera becomes unknown (-1): it tells no images apart, and
    images of unknown camera may answer each other.

    Args:
        table: path, pid, and camid and tracklet where known.
        fraction: part of the people for training, from 0 (all for test) to 1 (all for training).
        seed: of the draw.
        name: of the data set, for errors.

    Returns:
        the rows in the same order, with the column split.

    Raises:
        ReaderError: a fraction outside [0, 1], one that leaves a side without people, nobody at all.
        ManifestError: a pid of 0.

    >>> rows = pd.DataFrame({"path": list("abcd"), "pid": [1, 1, 1, 1], "camid": [1, 1, 2, 2]})
    >>> sorted(draw_split(rows, 0.0, 0, "toy")["split"])
    ['gallery', 'gallery', 'query', 'query']
    """
    pids = table["pid"].to_numpy()
    distractors = np.flatnonzero(pids == 0)
    if len(distractors):
        raise ManifestError(
            f"got 0, which means a distractor ({len(distractors)} such rows); number people from 1, or give "
            "the column split",
            "pid",
            int(distractors[0]),
        )
    people = sorted(np.unique(pids[pids > 0]).tolist(), key=lambda pid: mix(seed, pid))
    count = _count_train(len(people), fraction, name)
    table = table.assign(split=np.where(pids > 0, "gallery", "unlabeled"))
    table.loc[np.isin(pids, people[:count]), "split"] = "train"
    if "camid" not in table:
        table["camid"] = UNKNOWN
    if table["camid"].nunique() == 1:
        table["camid"] = UNKNOWN
    test = table[table["split"] == "gallery"]
    if len(test):
        queries = _draw_queries(test, seed)
        table.loc[test.index[queries], "split"] = "query"
    return table


def _count_train(people: int, fraction: float, name: str) -> int:
    if not 0 <= fraction <= 1:
        raise ReaderError(f"{name}: got fraction {fraction}; expected a part of the people, from 0 to 1")
    if not people:
        raise ReaderError(f"{name}: no image has a pid of 1 or more; expected at least one person")
    count = round(fraction * people)
    if 0 < fraction < 1 and not 0 < count < people:
        raise ReaderError(
            f"{name}: fraction {fraction} puts {count} of {people} people into train; expected at least one "
            "on each side (fraction 0 leaves all for test, 1 all for training)"
        )
    return count


def _draw_queries(test: pd.DataFrame, seed: int) -> np.ndarray:
    """Which test rows are queries, bool [n]."""
    tracklet = test["tracklet"].to_numpy() if "tracklet" in test else np.full(len(test), UNKNOWN)
    # What is drawn as one: a tracklet, or a single image (numbered after all tracklets).
    unit = np.where(tracklet >= 0, tracklet, tracklet.max() + 1 + np.arange(len(test)))
    rows = test[["path", "pid", "camid"]].assign(unit=unit)
    units = rows.sort_values("path", kind="stable").drop_duplicates("unit")
    units = units.iloc[permutation(len(units), seed)]
    several = units.groupby(["pid", "camid"])["unit"].transform("size") > 1
    drawn = units[several].drop_duplicates(["pid", "camid"])
    others = units[~units["pid"].isin(drawn["pid"])]
    others = others[others.groupby("pid")["unit"].transform("size") > 1].drop_duplicates("pid")
    return np.isin(unit, np.concatenate([drawn["unit"], others["unit"]]))
