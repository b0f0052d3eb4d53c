"""Distances between features and centroids, a tile at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist

TILE = (512, 4096)
"""Rows and columns of distances held at once."""
PAIRS = 8
"""Rows whose own partners are picked out of a square of distances, where a metric has no form of its own."""
DIRECTIONLESS = 1e-6
"""A mean of unit vectors this short is rounding: they cancel, and it points nowhere."""


def prepare_rows(rows: np.ndarray, metric: str, shortest: float = 0.0) -> np.ndarray:
    """Rows as the distances here take them: float32, of unit length for cosine.

    Args:
        rows: float [n d].
        metric: see `Criteria`.
        shortest: a row of at most this length becomes zero, which is at cosine distance 1 from everything.

    Returns:
        float32 [n d], a copy.

    Example:
        >>> prepare_rows(np.array([[3.0, 4.0], [0.0, 0.0]]), "cosine").tolist()
        [[0.6, 0.8], [0.0, 0.0]]
    """
    rows = np.array(rows, dtype=np.float32)
    if metric == "cosine":
        norms = np.sqrt(np.einsum("nd,nd->n", rows, rows))
        scale = np.zeros_like(norms)
        np.divide(1.0, norms, out=scale, where=norms > shortest)
        rows *= scale[:, None]
    return rows


def centroids(totals: np.ndarray, counts: np.ndarray, metric: str) -> np.ndarray:
    """Centroids, prepared, from sums [n d] of prepared rows and their counts [n]; zero where there are none.

    Example:
        >>> centroids(np.array([[2.0, 2.0]]), np.array([2]), "euclidean").tolist()
        [[1.0, 1.0]]
    """
    means = totals / np.maximum(counts, 1)[:, None].astype(np.float32)
    return prepare_rows(means, metric, shortest=DIRECTIONLESS)


def sums(rows: np.ndarray, owners: np.ndarray, size: int) -> np.ndarray:
    """Sum of the rows [n d] of each owner [n] in 0 to size - 1, float32 [size d].

    Example:
        >>> sums(np.array([[1.0], [2.0], [4.0]]), np.array([1, 0, 1]), 3).ravel().tolist()
        [2.0, 5.0, 0.0]
    """
    columns = np.arange(len(owners))
    one = np.ones(len(owners), dtype=np.float32)
    return np.asarray(csr_array((one, (owners, columns)), shape=(size, len(owners))) @ rows)


def distances(left: np.ndarray, right: np.ndarray, metric: str) -> np.ndarray:
    """Distances [n m] between prepared rows [n d] and [m d].

    Example:
        >>> distances(
        ...     np.array([[1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), "cosine"
        ... ).tolist()
        [[0.0, 1.0, 1.0]]
    """
    if metric == "cosine":
        return 1 - left @ right.T
    return cdist(left, right, metric)


def paired_distances(left: np.ndarray, right: np.ndarray, metric: str) -> np.ndarray:
    """Distance [n] of each prepared row of `left` [n d] to the same row of `right` [n d].

    Example:
        >>> paired_distances(
        ...     np.array([[0.0, 2.0], [1.0, 1.0]]), np.array([[0.0, 0.0], [1.0, 2.0]]), "cityblock"
        ... )
        array([2., 1.])
    """
    if metric == "cosine":
        return 1 - np.einsum("nd,nd->n", left, right)
    starts = range(0, len(left), PAIRS)
    squares = [cdist(left[at : at + PAIRS], right[at : at + PAIRS], metric) for at in starts]
    return np.concatenate([np.empty(0), *(np.diagonal(square) for square in squares)])


def close_pairs(
    rows: np.ndarray, own: int, half_range: int, threshold: float, metric: str
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pairs of rows within a distance, neither more than `half_range` places apart (Eqs. 2, 6 and 7).

    Args:
        rows: prepared, float32 [n d]; may be memory-mapped.
        own: the first of a pair is one of the first `own` rows, so that overlapping bands share no pair.
        half_range: places between the two at most.
        threshold: distance between the two at most.
        metric: see `Criteria`.

    Yields:
        int64 [p] first and [p] second of a pair, first < second, and their distances [p]; a tile at a time.

    Example:
        >>> points = np.array([[0.0], [1.0], [1.5]])
        >>> [list(map(np.ndarray.tolist, tile)) for tile in close_pairs(points, 3, 1, 1.0, "euclidean")]
        [[[0, 1], [1, 2], [1.0, 0.5]]]
    """
    height, width = TILE
    for top in range(0, own, height):
        bottom = min(top + height, own)
        end = min(len(rows), bottom + half_range)
        for left in range(top, end, width):
            tile = distances(rows[top:bottom], rows[left : min(left + width, end)], metric)
            first, second = np.nonzero(tile <= threshold)
            found = tile[first, second]
            first, second = first + top, second + left
            in_range = (first < second) & (second - first <= half_range)
            yield first[in_range], second[in_range], found[in_range]
