"""Linking relations and their closure (CION, Eq. 7): a sliding range over centroids, as banded products."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from reid_denoise.criteria import Criteria
from reid_denoise.distances import close_pairs

BORDERLINE = 50
"""Links nearest to sigma_drm that are remembered for a person to look at."""


class Links(NamedTuple):
    """Linking relations of some centroids.

    Attributes:
        degree: int64 [n], relations of each centroid.
        pairs: int64 [e 2], as many relations as have the same closure as all.
        borderline: float64 [b], the greatest distances among the relations, greatest first.
        borderline_pairs: int64 [b 2], which relations those are.
    """

    degree: np.ndarray
    pairs: np.ndarray
    borderline: np.ndarray
    borderline_pairs: np.ndarray


def link(centres: np.ndarray, own: int, half_range: int, criteria: Criteria) -> Links:
    """Linking relations between centroids within sigma_drm and at most `half_range` places apart (Eq. 7).

    Args:
        centres: prepared, float32 [n d], in the order of the concatenated videos; may be memory-mapped.
        own: the first `own` start relations, the others only end them (the next block's overlap).
        half_range: r_s.
        criteria: discrimination and metric are used.

    Returns:
        The relations.

    Example:
        >>> link(np.eye(3, dtype=np.float32)[[0, 1, 0]], 3, 2, Criteria()).pairs.tolist()
        [[0, 2]]
    """
    degree = np.zeros(len(centres), dtype=np.int64)
    kept, found, nearest = [np.empty((0, 2), dtype=np.int64)], np.empty((0, 2), dtype=np.int64), np.empty(0)
    for first, second, distance in close_pairs(
        centres, own, half_range, criteria.discrimination, criteria.metric
    ):
        degree += np.bincount(first, minlength=len(degree)) + np.bincount(second, minlength=len(degree))
        pairs = np.stack([first, second], axis=1)
        kept.append(spanning(pairs))
        nearest, found = most_borderline(np.concatenate([nearest, distance]), np.concatenate([found, pairs]))
    return Links(degree, np.concatenate(kept), nearest, found)


def most_borderline(distance: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The BORDERLINE relations of greatest distance, greatest first; equal ones by place.

    Example:
        >>> most_borderline(np.array([0.1, 0.17]), np.array([[0, 1], [0, 2]]))[1].tolist()
        [[0, 2], [0, 1]]
    """
    if len(distance) > BORDERLINE:
        least = np.partition(distance, -BORDERLINE)[-BORDERLINE]
        distance, pairs = distance[distance >= least], pairs[distance >= least]
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -distance))[:BORDERLINE]
    return distance[order], pairs[order]


def spanning(pairs: np.ndarray) -> np.ndarray:
    """Fewer pairs [e 2] with the same closure: each node to the first of its component.

    Example:
        >>> spanning(np.array([[3, 5], [3, 8], [5, 8]])).tolist()
        [[3, 5], [3, 8]]
    """
    nodes, codes = np.unique(pairs, return_inverse=True)
    first = components(codes.reshape(-1, 2), len(nodes))
    joined = first != np.arange(len(nodes))
    return np.stack([nodes[first[joined]], nodes[joined]], axis=1)


def components(pairs: np.ndarray, size: int) -> np.ndarray:
    """The closure of linking relations: the first node of each node's connected component.

    Args:
        pairs: int64 [e 2].
        size: number of nodes.

    Returns:
        int64 [size].

    Example:
        >>> components(np.array([[1, 3], [3, 4]]), 5).tolist()
        [0, 1, 2, 1, 1]
    """
    graph = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(size, size))
    number, component = connected_components(graph, directed=False)
    first = np.full(number, size, dtype=np.int64)
    np.minimum.at(first, component, np.arange(size))
    return first[component]
