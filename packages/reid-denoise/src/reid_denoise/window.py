"""The tracklets that criteria are chosen from, and the distances within and between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from reid_denoise.constraints import Constraints
from reid_denoise.criteria import Criteria
from reid_denoise.distances import centroids, close_pairs, paired_distances, prepare_rows, sums
from reid_denoise.layout import NOWHERE, Layout, pieces, release, take
from reid_denoise.tracklet import single_tracklet

WINDOW = 4000
"""Tracklets looked at, one after the other in the order of the videos."""


class Window(NamedTuple):
    """Some tracklets that follow each other in the order of the videos.

    Attributes:
        rows: int64 [i], their images, ordered by tracklet.
        lengths: int64 [t], images of each.
        videos: int64 [t], ascending.
        constraints: by their numbers.
        pids: int64 [i], who is on the images, -1 for unknown; all of them without labels.
        right: bool [i], whether an image is of its tracklet's person, that of most of its images; None
            without labels.
    """

    rows: np.ndarray
    lengths: np.ndarray
    videos: np.ndarray
    constraints: Constraints
    pids: np.ndarray
    right: np.ndarray | None


class Between(NamedTuple):
    """Distances between the centroids of a window's tracklets after single-tracklet denoising.

    Attributes:
        totals: float32 [t d], sums of each one's images, prepared.
        counts: int64 [t], its images; 0 where none is left.
        kept: bool [i], whether an image stays.
        people: int64 [t], each one's person; -1 for unknown.
        distance: float32 [p], of the pairs in range that may be one person.
        same: bool [p], whether a pair is known to be.
        apart: float32 [q], of the pairs that cannot be; where none is known, of those of one video.
    """

    totals: np.ndarray
    counts: np.ndarray
    kept: np.ndarray
    people: np.ndarray
    distance: np.ndarray
    same: np.ndarray
    apart: np.ndarray


def cut_window(
    layout: Layout, constraints: Constraints, pids: np.ndarray | None, rng: np.random.Generator
) -> Window:
    """All tracklets, or WINDOW of them that follow each other.

    Args:
        layout: of all tracklets.
        constraints: by their numbers.
        pids: int64 [n], who is on an image; None without labels.
        rng: draws where the window begins.
    """
    count = len(layout.lengths)
    first = int(rng.integers(0, count - WINDOW + 1)) if count > WINDOW else 0
    last = min(first + WINDOW, count)
    ends = np.concatenate([[0], np.cumsum(layout.lengths)])
    rows, lengths = layout.rows[ends[first] : ends[last]], layout.lengths[first:last]
    known = np.full(len(rows), NOWHERE) if pids is None else pids[rows]
    owner = np.repeat(np.arange(last - first), lengths)
    right = None
    if pids is not None:
        right = known == most_frequent(owner, known, last - first)[owner]
        right &= known != NOWHERE
    held = constraints.among(first, last)
    return Window(rows, lengths, layout.videos[first:last], held, known, right)


def most_frequent(owner: np.ndarray, pids: np.ndarray, size: int) -> np.ndarray:
    """The known person [size] of most images of each owner [n], the lowest of equals; -1 where none is known.

    Example:
        >>> most_frequent(np.array([0, 0, 0, 1]), np.array([7, 7, 2, -1]), 2).tolist()
        [7, -1]
    """
    known = pids != NOWHERE
    pairs, counts = np.unique(np.stack([owner[known], pids[known]]), axis=1, return_counts=True)
    order = np.lexsort((-pairs[1], counts))
    found = np.full(size, NOWHERE)
    found[pairs[0, order]] = pairs[1, order]
    return found


def deviations(
    features: np.ndarray, window: Window, metric: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """How far images are from the others of their tracklet, and from a tracklet of somebody else.

    With labels, of right images from the other right ones, and from a tracklet of another person.

    Args:
        features: float [n d].
        window: the tracklets.
        metric: see `Criteria`.
        rng: draws the other tracklets.

    Returns:
        float32 [a] and [b].
    """
    size = len(window.lengths)
    owner = np.repeat(np.arange(size), window.lengths)
    good = np.ones(len(owner), dtype=bool) if window.right is None else window.right
    totals = np.zeros((size, features.shape[1]), dtype=np.float32)
    for some, part in _parts(features, window, metric):
        totals += sums(part[good[some]], owner[some][good[some]], size)
    counts = np.bincount(owner[good], minlength=size)
    centres = centroids(totals, counts, metric)
    partner = _others(window, owner, rng)
    differ = (counts[partner] > 0) & (partner != owner)
    if window.right is not None:
        people = most_frequent(owner, window.pids, size)
        differ &= (people[partner] != window.pids) & (people[partner] >= 0) & (window.pids >= 0)
    own, other = [], []
    for some, part in _parts(features, window, metric):
        left = counts[owner[some]] - good[some]
        rest = centroids(totals[owner[some]] - part * good[some, None], left, metric)
        near = paired_distances(part, rest, metric)
        own.append(near[(left > 0) & good[some]])
        other.append(paired_distances(part, centres[partner[some]], metric)[differ[some]])
    return np.concatenate(own), np.concatenate(other)


def between(features: np.ndarray, window: Window, criteria: Criteria) -> Between:
    """Distances between tracklets without the images that deviate.

    Args:
        features: float [n d].
        window: the tracklets.
        criteria: consistency, half_range and metric are used.
    """
    size, metric = len(window.lengths), criteria.metric
    owner = np.repeat(np.arange(size), window.lengths)
    kept = np.zeros(len(owner), dtype=bool)
    totals = np.zeros((size, features.shape[1]), dtype=np.float32)
    for piece, some in pieces(window.lengths):
        part = prepare_rows(take(features, window.rows[some]), metric)
        kept[some] = single_tracklet(part, window.lengths[piece], criteria)
        totals += sums(part[kept[some]], owner[some][kept[some]], size)
        release(features)
    counts = np.bincount(owner[kept], minlength=size)
    centres, present = centroids(totals, counts, metric), counts > 0
    people = most_frequent(owner[kept], window.pids[kept], size)
    cannot = np.sort(window.constraints.cannot, axis=1)
    barred = np.unique(cannot[:, 0] * size + cannot[:, 1])
    found: list[tuple[np.ndarray, ...]] = []
    apart = [np.empty(0, dtype=np.float32)]
    for first, second, distance in close_pairs(centres, size, criteria.half_range, np.inf, metric):
        there = present[first] & present[second]
        first, second, distance = first[there], second[there], distance[there].astype(np.float32)
        never = np.isin(first * size + second, barred)
        apart.append(distance[never if len(barred) else window.videos[first] == window.videos[second]])
        same = (people[first] == people[second]) & (people[first] != NOWHERE)
        found.append((distance[~never], same[~never]))
    distance, same = (np.concatenate(columns) for columns in zip(*found, strict=True))
    return Between(totals, counts, kept, people, distance, same, np.concatenate(apart))


def _parts(features: np.ndarray, window: Window, metric: str) -> Iterator[tuple[slice, np.ndarray]]:
    """The window's images, prepared, some whole tracklets at a time."""
    for _, some in pieces(window.lengths):
        yield some, prepare_rows(take(features, window.rows[some]), metric)
        release(features)


def _others(window: Window, owner: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another tracklet for each image: one that cannot be its own, else one of its video, else any."""
    size = len(window.lengths)
    begin = np.searchsorted(window.videos, window.videos, side="left")
    length = np.searchsorted(window.videos, window.videos, side="right") - begin
    alone = length == 1
    begin, length = np.where(alone, 0, begin), np.where(alone, size, length)
    step = 1 + (rng.random(len(owner)) * (length[owner] - 1)).astype(np.int64)
    partner = begin[owner] + (owner - begin[owner] + step) % length[owner]
    both = np.concatenate([window.constraints.cannot, window.constraints.cannot[:, ::-1]])
    both = both[np.argsort(both[:, 0], kind="stable")]
    first = np.searchsorted(both[:, 0], np.arange(size + 1))
    number = np.diff(first)[owner]
    chosen = first[owner] + (rng.random(len(owner)) * number).astype(np.int64)
    held = number > 0
    partner[held] = both[chosen[held], 1]
    return partner
