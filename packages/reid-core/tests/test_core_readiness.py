"""What a data set lacks for training and for evaluation."""

from __future__ import annotations

import pandas as pd
import pytest

from reid_core.data.manifest import Manifest
from reid_core.data.readiness import find_gaps

TRAIN = [("train", 1, 1), ("train", 1, 2), ("train", 2, 1), ("train", 2, 2)]
TEST = [("query", 3, 1), ("gallery", 3, 2), ("gallery", -1, 1)]


def gaps(*rows):
    table = pd.DataFrame(rows, columns=["split", "pid", "camid"])
    return find_gaps(Manifest(table.assign(path=[f"{row}.jpg" for row in range(len(table))]), "/data"))


def test_nothing_is_missing_from_a_whole_data_set():
    assert gaps(*TRAIN, *TEST) == ([], [])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], ["no image is in the split train"]),
        ([("unlabeled", -1, -1)], ["no image is in the split train; 1 are unlabeled"]),
        (TRAIN[:2], ["1 people are in train; expected 2 or more"]),
        ([*TRAIN, ("train", 5, -1)], ["1 of 3 people in train have one image only"]),
        ([*TRAIN, ("train", 5, 2), ("train", 5, 2)], ["1 of 3 people in train are seen by one camera only"]),
    ],
)
def test_what_training_lacks(rows, expected):
    assert gaps(*rows, *TEST).training == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], ["no image is in the split query", "no image is in the split gallery"]),
        (TEST[:1], ["no image is in the split gallery"]),
        ([*TEST, ("query", 0, 1)], ["1 of 2 query images: the pid is 0 or -1, which is no person"]),
        ([*TEST, ("query", 9, 1)], ["1 of 2 query images: the gallery has no image of the person"]),
        (
            [*TEST, ("query", 3, 2), ("query", 3, 2)],
            ["2 of 3 query images: the gallery shows the person in the same camera only"],
        ),
    ],
)
def test_what_evaluation_lacks(rows, expected):
    assert gaps(*TRAIN, *rows).evaluation == expected


def test_an_unknown_camera_is_said_and_finds_answers_everywhere():
    (line,) = gaps(*TRAIN, ("query", 3, -1), ("gallery", 3, -1)).evaluation
    assert line.startswith("1 of 1 query images: one camera, or an unknown one")


def test_a_query_of_unknown_camera_that_is_in_the_gallery_is_said():
    table = pd.DataFrame({"path": ["a", "a"], "split": ["query", "gallery"], "pid": 1})
    assert find_gaps(Manifest(table, "/data")).evaluation[-1] == (
        "1 of 1 query images of unknown camera are in the gallery too"
    )
