"""What a data set lacks for training and for evaluation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from reid_core.data.manifest import UNKNOWN, Manifest

LEAST_PEOPLE = 2
"""Fewer can't be told apart."""


class Gaps(NamedTuple):
    """What is missing, one line each.

    Attributes:
        training: for supervised training.
        evaluation: for retrieval of the queries in the gallery.
    """

    training: list[str]
    evaluation: list[str]


def find_gaps(manifest: Manifest) -> Gaps:
    """Find what a data set lacks for training and for evaluation; which of it matters, the recipe decides.

    Evaluation is taken as across cameras: an answer shows the query's person in another camera. An image
    of unknown camera counts as from a camera of its own.

    Args:
        manifest: any.

    Returns:
        the gaps; no lines where nothing is missing.

    >>> rows = pd.DataFrame({"path": list("ab"), "split": ["query", "gallery"], "pid": 7, "camid": 1})
    >>> gaps = find_gaps(Manifest(rows, "/data"))
    >>> gaps.training
    ['no image is in the split train']
    >>> gaps.evaluation
    ['1 of 1 query images: the gallery shows the person in the same camera only']
    """
    parts = {split: rows for split, rows in manifest.table.groupby("split")}
    return Gaps(_training(parts), _evaluation(parts))


Parts = dict[str, pd.DataFrame]
"""Rows of each split that there is."""


def _training(parts: Parts) -> list[str]:
    if "train" not in parts:
        others = f"; {len(parts['unlabeled'])} are unlabeled" if "unlabeled" in parts else ""
        return [f"no image is in the split train{others}"]
    rows = parts["train"]
    rows = rows[rows["pid"] > 0]
    people = rows["pid"].nunique()
    gaps = []
    if people < LEAST_PEOPLE:
        gaps.append(f"{people} people are in train; expected {LEAST_PEOPLE} or more")
    single = int((rows.groupby("pid").size() == 1).sum())
    if single:
        gaps.append(f"{single} of {people} people in train have one image only")
    known = rows[rows["camid"] != UNKNOWN].groupby("pid")["camid"].nunique()
    if (known == 1).any():
        gaps.append(f"{int((known == 1).sum())} of {people} people in train are seen by one camera only")
    return gaps


def _evaluation(parts: Parts) -> list[str]:
    gaps = [f"no image is in the split {split}" for split in ("query", "gallery") if split not in parts]
    if gaps:
        return gaps
    query, gallery = parts["query"], parts["gallery"]
    pids, camids = query["pid"].to_numpy(), query["camid"].to_numpy()
    strangers = pids <= 0
    same_person = gallery.groupby("pid").size().reindex(pids, fill_value=0).to_numpy()
    own = pd.MultiIndex.from_arrays([pids, camids])
    same_camera = gallery.groupby(["pid", "camid"]).size().reindex(own, fill_value=0).to_numpy()
    answers = same_person - np.where(camids == UNKNOWN, 0, same_camera)
    for count, why in (
        (strangers, "the pid is 0 or -1, which is no person"),
        (~strangers & (same_person == 0), "the gallery has no image of the person"),
        (
            ~strangers & (same_person > 0) & (answers == 0),
            "the gallery shows the person in the same camera only",
        ),
    ):
        if count.any():
            gaps.append(f"{int(count.sum())} of {len(query)} query images: {why}")
    unknown = int((camids == UNKNOWN).sum())
    if unknown:
        gaps.append(
            f"{unknown} of {len(query)} query images: one camera, or an unknown one (camid -1): images from "
            'the same camera may be answers (protocol "people"), which is easier than across cameras'
        )
        both = int(query["path"][camids == UNKNOWN].isin(gallery["path"]).sum())
        if both:
            gaps.append(f"{both} of {unknown} query images of unknown camera are in the gallery too")
    return gaps
