"""Why queries enter no mean: the first of them by name, for a warning that can be acted on."""

from __future__ import annotations

import numpy as np
import torch

from reid_eval.defaults import Unreadable
from reid_eval.inputs import ITEM, JUNK_PID, Columns, Retrieval
from reid_eval.protocols import protocol_name

MOST_NAMED = 5
"""Queries that a warning names."""


def describe_unmatched(retrieval: Retrieval, valid_queries: np.ndarray, unreadable: Unreadable) -> str:
    """How many queries enter no mean, and of the first ones why.

    Args:
        retrieval: checked features and columns.
        valid_queries: int64 [v], rows of those that do.
        unreadable: as in `evaluate`.

    Returns:
        A sentence.
    """
    rows = np.setdiff1d(np.arange(len(retrieval.query)), valid_queries)
    reasons = "; ".join(
        f"query {row} {_reason(retrieval, int(row), unreadable)}" for row in rows[:MOST_NAMED]
    )
    more = "; and others" if len(rows) > MOST_NAMED else ""
    return (
        f"{len(rows)} of {len(retrieval.query)} queries have no right answer and enter no mean: "
        f"{reasons}{more}: check that pids number the same people on both sides, and that camids are known"
    )


def _reason(retrieval: Retrieval, row: int, unreadable: Unreadable) -> str:
    query = Columns((name, values[row : row + 1]) for name, values in retrieval.query_columns.items())
    person = int(query["pid"])
    if person == JUNK_PID:
        return f"is junk (pid {JUNK_PID})"
    if unreadable == "leave_out" and not retrieval.query_valid[row]:
        return "holds no feature"
    cols = torch.nonzero(retrieval.gallery_columns["pid"] == person)[:, 0]
    if not len(cols):
        return f"has no gallery row of its person {person}"
    gallery = Columns((name, values[cols]) for name, values in retrieval.gallery_columns.items())
    # Asked about the whole gallery: a trial draws among all of its rows.
    if retrieval.protocol(query, retrieval.gallery_columns)[0, cols].any():
        if ITEM in gallery and bool((gallery[ITEM] == query[ITEM]).all()):
            return f"is itself the only gallery row of its person {person}"
        return f"meets no gallery row of its person {person} that holds a feature"
    if "camid" in gallery and bool((gallery["camid"] == query["camid"]).all()):
        return f"shares camera {int(query['camid'])} with every gallery row of its person {person}"
    name = protocol_name(retrieval.protocol)
    return f"may be matched with none of its person {person}'s {len(cols)} gallery rows ({name})"
