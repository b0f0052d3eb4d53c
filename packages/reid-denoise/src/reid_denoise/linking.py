"""Which near centroids become one identity: by closure, mutual nearest neighbours, or average linkage."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np

from reid_denoise.constraints import NO_PAIRS, Constraints, Groups
from reid_denoise.criteria import Criteria, Linking
from reid_denoise.distances import close_pairs
from reid_denoise.links import components
from reid_denoise.mapping import Mapper, Progress

NEIGHBOURS = 32
"""Candidates of a centroid among those after it, the nearest first, so that memory stays linear."""


class Candidates(NamedTuple):
    """Centroids within sigma_drm and the range.

    Attributes:
        pairs: int64 [e 2], first < second.
        distance: float32 or float64 [e].
    """

    pairs: np.ndarray
    distance: np.ndarray


def candidates(centres: np.ndarray, own: int, half_range: int, criteria: Criteria) -> Candidates:
    """Pairs of centroids within sigma_drm and at most `half_range` places apart, the nearest of each.

    Args:
        centres: prepared, float32 [n d]; may be memory-mapped.
        own: the first of a pair is one of the first `own`.
        half_range: r_s.
        criteria: discrimination and metric are used.

    Example:
        >>> candidates(np.eye(3, dtype=np.float32)[[0, 1, 0]], 3, 2, Criteria()).pairs.tolist()
        [[0, 2]]
    """
    pairs, distances = NO_PAIRS, np.empty(0)
    for first, second, distance in close_pairs(
        centres, own, half_range, criteria.discrimination, criteria.metric
    ):
        pairs = np.concatenate([pairs, np.stack([first, second], axis=1)])
        distances = np.concatenate([distances, distance])
        order = np.lexsort((pairs[:, 1], distances, pairs[:, 0]))
        firsts = pairs[order, 0]
        order = order[np.arange(len(order)) - np.searchsorted(firsts, firsts) < NEIGHBOURS]
        pairs, distances = pairs[order], distances[order]
    return Candidates(pairs, distances)


def band_candidates(
    centres: np.ndarray, band: int, criteria: Criteria, mapper: Mapper, progress: Progress
) -> Candidates:
    """`candidates` of all centroids within the criteria's range, in bands that overlap by it.

    Args:
        centres: prepared, float32 [n d]; may be memory-mapped.
        band: centroids of a band.
        criteria: discrimination, half_range and metric are used.
        mapper: how the work on bands is done.
        progress: shows how far it is.
    """
    size, half_range = len(centres), criteria.half_range
    starts = range(0, size, band)
    work = (
        (np.asarray(centres[at : at + band + half_range]), min(band, size - at), half_range, criteria)
        for at in starts
    )
    parts = list(progress(mapper(candidates, work), "candidates", len(starts)))
    pairs = [part.pairs + at for at, part in zip(starts, parts, strict=True)]
    return Candidates(
        np.concatenate([NO_PAIRS, *pairs]), np.concatenate([np.empty(0), *(part.distance for part in parts)])
    )


def group(
    found: Candidates,
    centres: np.ndarray,
    videos: np.ndarray,
    linking: Linking,
    criteria: Criteria,
    constraints: Constraints,
) -> np.ndarray:
    """Group centroids.

    "closure": all that a chain of candidates joins (Eq. 7). "mutual": candidates of which each is the other's
    nearest in the other's video, and chains of those. "average": the two nearest groups become one while the
    mean of their pairs' distances is at most sigma_drm (UPGMA). Constraints are kept in the order of the
    distances: a pair that would join what is never one person is passed over.

    Args:
        found: candidate pairs of centroids.
        centres: prepared, float32 [n d]; overwritten by "average".
        videos: int64 [n].
        linking: how.
        criteria: discrimination and metric are used.
        constraints: by the centroids' numbers.

    Returns:
        int64 [n], the first centroid of each one's group.

    Example:
        >>> rows = np.array([[1, 0], [0.9, 0.436], [0.6, 0.8]], dtype=np.float32)
        >>> loose = Criteria(discrimination=0.2)
        >>> found = candidates(rows, 3, 2, loose)
        >>> for linking in ("closure", "mutual", "average"):
        ...     group(found, rows.copy(), np.zeros(3, int), linking, loose, Constraints()).tolist()
        [0, 0, 0]
        [0, 0, 2]
        [0, 0, 2]
    """
    if linking == "average":
        return _average(found, centres, criteria, constraints)
    if linking == "mutual":
        found = _mutual(found, videos)
    if not constraints:
        return components(found.pairs, len(centres))
    groups = Groups(len(centres), constraints)
    order = np.lexsort((found.pairs[:, 1], found.pairs[:, 0], found.distance))
    for one, other in found.pairs[order].tolist():
        groups.join(one, other)
    return groups.first()


def _mutual(found: Candidates, videos: np.ndarray) -> Candidates:
    """Those of which each is the other's nearest in the other's video; of equally near ones the first."""
    one, other = np.concatenate([found.pairs, found.pairs[:, ::-1]]).T
    distance = np.concatenate([found.distance, found.distance])
    order = np.lexsort((other, distance, videos[other], one))
    # A new run begins where the centroid or the other's video changes.
    nearest = np.ones(len(order), dtype=bool)
    nearest[1:] = (np.diff(one[order]) != 0) | (np.diff(videos[other[order]]) != 0)
    chosen = np.zeros(len(order), dtype=bool)
    chosen[order] = nearest
    both = chosen[: len(found.pairs)] & chosen[len(found.pairs) :]
    return Candidates(found.pairs[both], found.distance[both])


def _average(
    found: Candidates, centres: np.ndarray, criteria: Criteria, constraints: Constraints
) -> np.ndarray:
    """UPGMA on cosine distances, cut at sigma_drm.

    A mean over the pairs of two groups is at most sigma_drm only if it was for one of the two parts that made
    a group, so that neighbours of the parts are all that must be looked at. With unit-length centroids it
    is 1 - (sum of one group . sum of the other) / (sizes): sums stand in the place of each group's root.
    """
    size, sums = len(centres), centres
    groups = Groups(size, Constraints(cannot=constraints.cannot))
    one, other = np.concatenate([found.pairs, found.pairs[:, ::-1]]).T
    order = np.argsort(one, kind="stable")
    neighbours, begin = other[order], np.searchsorted(one[order], np.arange(size + 1))
    version = np.zeros(size, dtype=np.int64)
    heap: list[tuple[float, int, int, int, int]] = []

    def join(first: int, second: int) -> None:
        if not groups.join(first, second):
            return
        root = int(groups.label[first])
        gone = second if root == first else first
        sums[root] += sums[gone]
        version[[root, gone]] += 1
        members = groups.members(root)
        around = [neighbours[begin[node] : begin[node + 1]] for node in members.tolist()]
        near = np.unique(groups.label[np.concatenate(around)])
        near = near[near != root]
        if not len(near):
            return
        sizes = np.array([len(groups.members(node)) for node in near.tolist()])
        distance = 1 - sums[near] @ sums[root] / (len(members) * sizes)
        for node, value in zip(near.tolist(), distance.tolist(), strict=True):
            if value <= criteria.discrimination:
                pair = (node, root) if node < root else (root, node)
                heappush(heap, (value, *pair, int(version[pair[0]]), int(version[pair[1]])))

    for first, second in constraints.must.tolist():
        roots = int(groups.label[first]), int(groups.label[second])
        if roots[0] != roots[1]:
            join(*roots)
    heap += [
        (value, first, second, 0, 0)
        for value, (first, second) in zip(found.distance.tolist(), found.pairs.tolist(), strict=True)
        if not version[first] and not version[second]
    ]
    heapify(heap)
    while heap:
        _, first, second, *seen = heappop(heap)
        if [version[first], version[second]] == seen:
            join(first, second)
    return groups.first()
