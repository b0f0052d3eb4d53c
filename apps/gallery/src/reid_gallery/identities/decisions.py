"""What people answered: pairs of tracklets that are one person, or two."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from reid_gallery.identities.tracklets import Tracklets

HEADER = ("first", "second", "answer")
SAME, DIFFERENT = "same", "different"


class Constraints(NamedTuple):
    """Pairs of tracklets by number.

    Attributes:
        cannot: int64 [p 2], seen beside each other, or answered to be two people.
        must: int64 [m 2], answered to be one person.
        answered: the pairs of the answers, and what they say, in their order; names.
    """

    cannot: np.ndarray
    must: np.ndarray
    answered: list[tuple[str, str, str]]


def find_constraints(tracklets: Tracklets, decisions: Path | None) -> Constraints:
    """Pairs that are never one person since they are seen beside each other, and people's answers.

    An answer outweighs the boxes: a tracker may follow one person by two boxes.

    Args:
        tracklets: all of them.
        decisions: CSV with the columns first, second (names of tracklets) and answer (same or different);
            None for none.

    Raises:
        ValueError: another table, a name that no tracklet has, or answers that contradict each other.
    """
    table = tracklets.table
    answered = read_decisions(decisions) if decisions else []
    number = {name: row for row, name in enumerate(table["name"])}
    pairs: dict[str, list[tuple[int, int]]] = {SAME: [], DIFFERENT: []}
    for line, (first, second, answer) in enumerate(answered, start=2):
        for name in (first, second):
            if name not in number:
                raise ValueError(f"{decisions}, line {line}: there is no tracklet {name!r}")
        pairs[answer].append((number[first], number[second]))
    must, different = (np.array(pairs[kind], dtype=np.int64).reshape(-1, 2) for kind in (SAME, DIFFERENT))
    graph = coo_array((np.ones(len(must)), (must[:, 0], must[:, 1])), shape=(len(table), len(table)))
    person = connected_components(graph, directed=False)[1]
    clash = np.flatnonzero(person[different[:, 0]] == person[different[:, 1]])
    if len(clash):
        one, other = table["name"].to_numpy()[different[clash[0]]]
        raise ValueError(
            f"{decisions}: {one} and {other} are answered to be different, but other answers join them; "
            "remove one of the answers"
        )
    beside = tracklets.apart
    cannot = beside[person[beside[:, 0]] != person[beside[:, 1]]]
    return Constraints(np.concatenate([cannot, different]), must, answered)


def read_decisions(path: Path) -> list[tuple[str, str, str]]:
    """Answers; the last one of a pair counts.

    Args:
        path: the CSV.

    Raises:
        ValueError: another table; the line is named.
    """
    found: dict[frozenset[str], tuple[str, str, str]] = {}
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        if tuple(next(rows, ())) != HEADER:
            raise ValueError(f"{path}, line 1: expected {','.join(HEADER)}")
        for line, row in enumerate(rows, start=2):
            if len(row) != len(HEADER) or row[2] not in (SAME, DIFFERENT) or row[0] == row[1]:
                raise ValueError(
                    f"{path}, line {line}: got {','.join(row)[:80]!r}; expected names of two tracklets and "
                    f"{SAME} or {DIFFERENT}"
                )
            found[frozenset(row[:2])] = (row[0], row[1], row[2])
    return list(found.values())
