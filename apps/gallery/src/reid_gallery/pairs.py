"""Scores of pairs of rows across cameras, and of searches of people who are there and who are not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from reid_core.models import Features
from reid_gallery.calibration import Pairs

MOST_ROWS = 4000
"""Rows that pairs are made of; more are drawn by lot, whole people at a time."""
BLOCK_ROWS = 512


def labeled_rows(features: Features, seed: int = 0) -> Features:
    """Readable rows of known people, at most MOST_ROWS.

    Args:
        features: any.
        seed: of the people who are drawn where there are more.

    Raises:
        ValueError: fewer than two people.
    """
    pids = features.rows.pids
    known = np.flatnonzero(features.valid & (pids > 0))
    people = np.random.default_rng(seed).permutation(np.unique(pids[known]))
    counts = np.array([(pids[known] == pid).sum() for pid in people])
    kept = people[np.cumsum(counts) <= MOST_ROWS]
    if len(kept) < 2:
        raise ValueError(
            f"{len(people)} people with readable rows in {features.rows!r}; "
            "expected two or more, with pids from 1"
        )
    return features.take(known[np.isin(pids[known], kept)])


def scores_between(one: np.ndarray, other: np.ndarray, metric: str) -> np.ndarray:
    """Scores of all pairs: cosines of unit rows, or negative squared distances.

    Args:
        one: float32 [n d].
        other: float32 [m d].
        metric: "cosine" or "euclidean".

    Returns:
        float32 [n m].

    Example:
        >>> scores_between(np.eye(2), np.ones((1, 2)), "euclidean").tolist()
        [[-1.0], [-1.0]]
    """
    products: np.ndarray = one @ other.T
    if metric == "cosine":
        return products
    return 2 * products - (one**2).sum(axis=1)[:, None] - (other**2).sum(axis=1)


def all_pairs(features: Features, metric: str) -> Pairs:
    """All pairs of rows from two cameras; a row of an unknown camera pairs with every other.

    Pairs of one camera are left out: they share background and light, and are not what is searched for.

    Args:
        features: as `labeled_rows` gives them.
        metric: of the scores.

    Returns:
        Each pair once.
    """
    people, numbers = np.unique(features.rows.pids, return_inverse=True)
    scores, a, b = (np.concatenate(parts) for parts in zip(*_pairs(features, metric), strict=True))
    cameras = np.sort(np.stack([features.rows.camids[a], features.rows.camids[b]], axis=1), axis=1)
    return Pairs(scores, numbers[a], numbers[b], cameras, len(people))


def _pairs(features: Features, metric: str) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    camids, array = features.rows.camids, np.asarray(features.array)
    places = np.arange(len(camids))
    for start in range(0, len(camids), BLOCK_ROWS):
        rows = places[start : start + BLOCK_ROWS]
        scores = scores_between(array[rows], array, metric)
        mine, theirs = camids[rows][:, None], camids[None]
        count = (mine != theirs) | (mine < 0)
        a, b = np.nonzero(count & (rows[:, None] < places[None]))
        yield scores[a, b], rows[a], places[b]


def open_set_searches(
    features: Features, metric: str, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Searches of people of whom half are in the gallery.

    Of each person in the gallery's half the rows but one are the gallery; the one row searches. Of the other
    half every row searches. A row of the searcher's own camera is no right answer.

    Args:
        features: as `labeled_rows` gives them.
        metric: of the scores.
        seed: of the halves and of the rows that search.

    Returns:
        Highest score of a right and of a wrong answer of each search of a person who is there, highest score
        of each search of one who isn't, and the rows of the gallery.
    """
    rng = np.random.default_rng(seed)
    pids, camids = features.rows.pids, features.rows.camids
    people = rng.permutation(np.unique(pids))
    enrolled = np.isin(pids, people[: len(people) // 2])
    searching = ~enrolled
    for pid in people[: len(people) // 2]:
        rows = np.flatnonzero(pids == pid)
        if len(rows) > 1:
            searching[rng.choice(rows)] = True
    gallery = np.flatnonzero(enrolled & ~searching)
    array = np.asarray(features.array)
    right, wrong, others = [], [], []
    for start in range(0, len(pids), BLOCK_ROWS):
        rows = np.flatnonzero(searching[start : start + BLOCK_ROWS]) + start
        if not len(rows) or not len(gallery):
            continue
        scores = scores_between(array[rows], array[gallery], metric)
        same = pids[rows][:, None] == pids[gallery][None]
        own = same & (camids[rows][:, None] == camids[gallery][None]) & (camids[rows][:, None] >= 0)
        mate = np.where(same & ~own, scores, -np.inf).max(axis=1)
        first = np.where(~same, scores, -np.inf).max(axis=1)
        there = enrolled[rows] & (same & ~own).any(axis=1)
        right.append(mate[there])
        wrong.append(first[there])
        others.append(first[~enrolled[rows]])
    parts = (np.concatenate(some) if some else np.empty(0) for some in (right, wrong, others))
    return (*parts, len(gallery))  # type: ignore[return-value]
