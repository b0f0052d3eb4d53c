"""Jaccard distance of k-reciprocal neighbours, of near pairs alone: memory grows with n, not n squared."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import faiss
import numpy as np
from scipy import sparse
from sklearn.preprocessing import normalize

from reid_core.progress import Progress
from reid_core.training.unsupervised.config import EPS, K1, K2

QUERIES_AT_A_TIME = 4096
GATHER_BYTES = 2**21
"""Of each of two gathers of rows that are multiplied pair by pair: what a core's cache holds."""

ROWS_AT_A_TIME = 128
"""Rows whose near pairs are computed at a time."""

TAIL = 0.875
"""Share of the overlap at eps that a row's lightest weights, left out of the bound, may add up to."""

ROUNDING = 1e-4
"""Share of the overlap at eps that the bound, in float32, may fall short by."""


def jaccard_distance(
    features: np.ndarray,
    k1: int = K1,
    k2: int = K2,
    eps: float = EPS,
    progress: bool = True,
    device: str = "cpu",
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
        device: where neighbours are searched: cpu, or a GPU as torch names it (cuda, cuda:1), which the
            distribution faiss-gpu needs. Near pairs are always compared on the CPU.

    Returns:
        Sparse float32 `[n n]`, symmetric. A distance of 0 is an explicit entry; one that isn't stored is
        greater than eps.

    Raises:
        ValueError: features of another shape, not finite or zero, settings outside their ranges, or a GPU
            that faiss doesn't find.

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
    neighbours = _nearest(rows, k1, progress, device)
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


def _nearest(rows: np.ndarray, k: int, progress: bool, device: str) -> np.ndarray:
    """The k nearest rows of each, nearest first: int32 [n k]."""
    search = _choose_search(device)
    at_a_time = QUERIES_AT_A_TIME if device == "cpu" else len(rows)  # a GPU is given all rows at each call
    found = np.empty((len(rows), k), dtype=np.int32)
    with Progress("neighbours", len(rows), enabled=progress) as shown:
        for start in range(0, len(rows), at_a_time):
            some = slice(start, min(start + at_a_time, len(rows)))
            found[some] = search(rows[some], rows, k)[1]
            shown.update(some.stop)
    return found


def _choose_search(device: str) -> Callable[..., Any]:
    """faiss' exact search on a device."""
    if device == "cpu":
        return faiss.knn
    kind, _, index = device.partition(":")
    gpus = faiss.get_num_gpus()
    if kind != "cuda" or not (index or "0").isdigit() or int(index or 0) >= gpus:
        raise ValueError(
            f"device={device!r}: expected cpu, or cuda:N with N below the {gpus} GPUs that faiss finds; on a "
            "machine with a GPU install faiss-gpu in place of faiss-cpu"
        )
    return partial(faiss.knn_gpu, faiss.StandardGpuResources(), device=int(index or 0))


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
    step = max(1, GATHER_BYTES // rows[:1].nbytes)
    for start in range(0, pairs.nnz, step):
        some = slice(start, start + step)
        products[some] = np.einsum("nd,nd->n", rows[pairs.row[some]], rows[pairs.col[some]])
    weights = np.exp(2 * products - 2)
    sums = np.bincount(pairs.row, weights, minlength=len(rows)).astype(np.float32)
    return sparse.csr_array((weights / sums[pairs.row], (pairs.row, pairs.col)), shape=pairs.shape)


def _near_pairs(encoding: sparse.csr_array, eps: float, progress: bool) -> sparse.csr_array:
    """Distances of at most eps: a bound by a sparse product leaves few pairs whose distance is worked out.

    With `x` and `y` the encodings of two rows, and `H` the heaviest weights of `x`, their overlap
    `sum_k min(x_k, y_k)` is at most `sum_{k in H} sqrt(x_k y_k)` and the sum of the other weights of `x`.
    """
    count = encoding.shape[0]
    least = 2 * (1 - eps) / (2 - eps)  # the overlap at a distance of eps
    encoding.sort_indices()
    roots = encoding.astype(np.float32)
    np.sqrt(roots.data, out=roots.data)
    columns = sparse.csr_array(roots.T)

    def find(start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        heavy, rest = _split_off_tails(encoding[start : start + ROWS_AT_A_TIME], TAIL * least)
        bound = heavy @ columns
        row = np.repeat(np.arange(len(rest)), np.diff(bound.indptr))
        near = (bound.data >= (least * (1 - ROUNDING) - rest)[row]) & (bound.indices >= row + start)
        row, col = row[near] + start, bound.indices[near]
        overlap = encoding[row].minimum(encoding[col]).sum(axis=1)
        distance = np.maximum(1 - overlap / (2 - overlap), 0)
        near = distance <= eps
        return row[near], col[near], distance[near].astype(np.float32)

    starts = range(0, count, ROWS_AT_A_TIME)
    parts = []
    with (
        ThreadPoolExecutor(faiss.omp_get_max_threads()) as pool,
        Progress("Jaccard distances", count, enabled=progress) as shown,
    ):
        for start, part in zip(starts, pool.map(find, starts), strict=True):
            parts.append(part)
            shown.update(min(start + ROWS_AT_A_TIME, count))
    row, col, distance = (np.concatenate(values) for values in zip(*parts, strict=True))
    mirrored = row < col
    rows, cols = np.concatenate([row, col[mirrored]]), np.concatenate([col, row[mirrored]])
    return sparse.csr_array((np.concatenate([distance, distance[mirrored]]), (rows, cols)), encoding.shape)


def _split_off_tails(rows: sparse.csr_array, most: float) -> tuple[sparse.csr_array, np.ndarray]:
    """Square roots of each row's heaviest weights, float32; and the sum of its others, at most `most`."""
    row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    order = np.lexsort((rows.data, row))
    sums = np.cumsum(rows.data[order])
    before = np.concatenate([[0], sums])[rows.indptr[:-1]]
    heavy = np.empty(rows.nnz, dtype=bool)
    heavy[order] = sums - before[row] > most
    starts = np.concatenate([[0], np.cumsum(heavy)])[rows.indptr]
    weights = np.sqrt(rows.data[heavy]).astype(np.float32)
    rest = np.bincount(row, np.where(heavy, 0, rows.data), minlength=rows.shape[0])
    return sparse.csr_array((weights, rows.indices[heavy], starts), rows.shape), rest
