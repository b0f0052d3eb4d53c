"""Jaccard distance of k-reciprocal neighbours, of near pairs alone: memory grows with n, not n squared."""

from __future__ import annotations

import faiss
import numpy as np
from scipy import sparse
from sklearn.preprocessing import normalize

from reid_core.progress import Progress
from reid_core.training.unsupervised.config import EPS, K1, K2

QUERIES_AT_A_TIME = 4096
PAIRS_AT_A_TIME = 2**14


def jaccard_distance(
    features: np.ndarray, k1: int = K1, k2: int = K2, eps: float = EPS, progress: bool = True
) -> sparse.csr_array:
    """Jaccard distance of k-reciprocal encodings, where it is at most eps.

    A row's encoding is `softmax(2 x.y - 2)` over its k1-reciprocal neighbours, joined by the k1/2-reciprocal
    neighbours of those that share over two thirds of theirs, and then averaged over the k2 nearest rows'
    encodings (Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017).
    With `m` the sum of the lesser of two encodings, the distance is `1 - m / (2 - m)`. It is what
    `compute_jaccard_distance` of SpCL and Cluster Contrast gives, which holds two [n n] matrices; as there,
    a row is the first of its own k1 neighbours.

    Args:
        features: float `[n d]`; compared by their directions, in float32.
        k1: neighbours of the encoding, itself among them; at most n.
        k2: nearest encodings averaged; 1 for none.
        eps: distance from 0 to below 1 up to which pairs are kept.
        progress: whether to show progress.

    Returns:
        Sparse float32 `[n n]`, symmetric but for rounding. A distance of 0 is an explicit entry; one that
        isn't stored is greater than eps.

    Raises:
        ValueError: features of another shape, not finite or zero, or settings outside their ranges.

    Example:
        >>> people = np.repeat(np.eye(3), 4, axis=0) + 0.01 * np.arange(36).reshape(12, 3) % 0.07
        >>> distances = jaccard_distance(people, k1=4, k2=2, progress=False)
        >>> distances.shape, distances.nnz, bool(distances[[0], [11]] == 0)
        ((12, 12), 48, True)
    """
    rows = _unit_rows(features)
    if not 1 <= k2 <= k1 <= len(rows) or not 0 <= eps < 1:
        raise ValueError(
            f"k1={k1}, k2={k2}, eps={eps}: expected 1 <= k2 <= k1 <= {len(rows)} (rows of features) and "
            "0 <= eps < 1"
        )
    neighbours = _nearest(rows, k1, progress)
    reciprocal = _mutual(neighbours)
    near = _mutual(neighbours[:, : round(k1 / 2) + 1])
    common = (reciprocal @ near).multiply(reciprocal).tocoo()
    joins = common.data > 2 / 3 * np.diff(near.indptr)[common.col]
    ones = np.ones(joins.sum(), dtype=np.float32)
    joined = sparse.csr_array((ones, (common.row[joins], common.col[joins])), shape=reciprocal.shape)
    encoding = _softmax((reciprocal + joined @ near).tocoo(), rows)
    if k2 > 1:
        encoding = _links(neighbours[:, :k2]) @ encoding / np.float32(k2)
    return _near_pairs(encoding, eps, progress)


def _unit_rows(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, dtype=np.float32)
    if features.ndim != 2 or not len(features):
        raise ValueError(f"features: got shape {features.shape}; expected [n d]")
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1) | ~features.any(axis=1))
    if len(bad):
        raise ValueError(
            f"features: row {bad[0]} is zero or not finite ({len(bad)} such rows); leave out the rows of "
            "images that could not be read, and check the weights"
        )
    return normalize(features)


def _nearest(rows: np.ndarray, k: int, progress: bool) -> np.ndarray:
    """The k nearest rows of each, nearest first: int64 [n k]."""
    found = np.empty((len(rows), k), dtype=np.int64)
    with Progress("neighbours", len(rows), enabled=progress) as shown:
        for start in range(0, len(rows), QUERIES_AT_A_TIME):
            some = slice(start, min(start + QUERIES_AT_A_TIME, len(rows)))
            found[some] = faiss.knn(rows[some], rows, k)[1]
            shown.update(some.stop)
    return found


def _links(neighbours: np.ndarray) -> sparse.csr_array:
    """1 from each row to its neighbours, float32 [n n]."""
    count, k = neighbours.shape
    ones = np.ones(neighbours.size, dtype=np.float32)
    return sparse.csr_array((ones, neighbours.ravel(), np.arange(0, count * k + 1, k)), shape=(count, count))


def _mutual(neighbours: np.ndarray) -> sparse.csr_array:
    """1 where two rows are among each other's neighbours, float32 [n n]."""
    links = _links(neighbours)
    return sparse.csr_array(links.multiply(links.T))


def _softmax(pairs: sparse.coo_array, rows: np.ndarray) -> sparse.csr_array:
    """Softmax of minus the squared distance over the pairs of each row."""
    products = np.empty(pairs.nnz, dtype=np.float32)
    for start in range(0, pairs.nnz, PAIRS_AT_A_TIME):
        some = slice(start, start + PAIRS_AT_A_TIME)
        products[some] = np.einsum("nd,nd->n", rows[pairs.row[some]], rows[pairs.col[some]])
    weights = np.exp(2 * products - 2)
    sums = np.bincount(pairs.row, weights, minlength=len(rows)).astype(np.float32)
    return sparse.csr_array((weights / sums[pairs.row], (pairs.row, pairs.col)), shape=pairs.shape)


def _near_pairs(encoding: sparse.csr_array, eps: float, progress: bool) -> sparse.csr_array:
    """Distances of at most eps, a row at a time: only rows that share a neighbour are compared."""
    count = encoding.shape[0]
    columns = sparse.csc_array(encoding)
    near, distances = [], []
    with Progress("Jaccard distances", count, enabled=progress) as shown:
        for row in range(count):
            mine = slice(encoding.indptr[row], encoding.indptr[row + 1])
            first = columns.indptr[encoding.indices[mine]]
            sizes = columns.indptr[encoding.indices[mine] + 1] - first
            entries = np.repeat(first - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
            lesser = np.minimum(columns.data[entries], np.repeat(encoding.data[mine], sizes))
            # n numbers a row are less than the search for its neighbours took
            overlap = np.bincount(columns.indices[entries], lesser, minlength=count)
            others = np.flatnonzero(overlap)
            distance = np.maximum(1 - overlap[others] / (2 - overlap[others]), 0)
            near.append(others[distance <= eps].astype(np.int32))
            distances.append(distance[distance <= eps].astype(np.float32))
            shown.update(row + 1)
    starts = np.cumsum([0, *map(len, near)])
    return sparse.csr_array((np.concatenate(distances), np.concatenate(near), starts), shape=encoding.shape)
