"""Re-ranking with k-reciprocal neighbours (Zhong et al., CVPR 2017), on sparse lists, not dense matrices.

The published code holds all distances among queries and gallery, their argsort and the encodings as dense [n
n] matrices. Here neighbours are [n k] lists and everything after them is a sparse matrix with some tens of
entries per row, so memory grows with n; the final distances are made for some queries at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from reid_eval.defaults import K1, K2, LAMBDA, Metric
from reid_eval.inputs import TILE_ROWS, Array, Features, Retrieval, as_device, checked_features

PRODUCTS_AT_A_TIME = {"cpu": 2**23, "cuda": 2**28}
"""Distances among all rows held at a time: 32 MB on a CPU, some GB on a GPU."""

ROUNDING = 1e-5
"""Squared distances below this part of the largest squared norm are rounding of float32 products."""

GATHER_BYTES = 2**21
"""Of each of two gathers of rows that are multiplied pair by pair: what a core's cache holds."""


@dataclass(frozen=True, eq=False)
class Reranking:
    """Encodings from which re-ranked distances are made, of q' queries and g' gallery rows with a feature.

    Attributes:
        rows: float32 [q' + g', d], features as compared: unit length under cosine.
        norms: float32 [q' + g'], their squared norms.
        farthest: float32 [q'], squared distance of each query to the row farthest from it.
        query: sparse float32 [q', q' + g'], each query's weights over its neighbours.
        gallery: sparse float32 [g', q' + g'] by columns.
        weight: of the original distance.
        query_valid: bool [q], which of all queries have a feature.
        gallery_valid: bool [g], which of all gallery rows have one.
    """

    rows: np.ndarray
    norms: np.ndarray
    farthest: np.ndarray
    query: sparse.csr_array
    gallery: sparse.csc_array
    weight: float
    query_valid: np.ndarray
    gallery_valid: np.ndarray

    def block(self, retrieval: Retrieval) -> Callable[[int, int], Tensor]:
        """Scores of a range of queries, the distances turned round, for `evaluate` and `rank`.

        They are in one buffer, which the next call fills anew.
        """
        sizes = len(self.query_valid), len(self.gallery_valid)
        expected = len(retrieval.query), len(retrieval.gallery)
        if sizes != expected:
            raise ValueError(
                f"reranking is of {sizes} queries and gallery rows, but the features are {expected}: "
                "make it with k_reciprocal from the same features"
            )
        for name in ("query_valid", "gallery_valid"):
            changed = getattr(self, name) != getattr(retrieval, name).cpu().numpy()
            if changed.any():
                raise ValueError(
                    f"{name}: row {changed.argmax()} was marked otherwise when the re-ranking was made: give "
                    "k_reciprocal the same masks"
                )
        buffer = np.empty((0, len(self.gallery_valid)), dtype=np.float32)

        def scores(start: int, stop: int) -> Tensor:
            nonlocal buffer
            if len(buffer) < stop - start:
                buffer = np.empty((stop - start, len(self.gallery_valid)), dtype=np.float32)
            some = buffer[: stop - start]
            self._fill(some, start)
            return torch.from_numpy(np.negative(some, out=some))

        return scores

    def distances(self, start: int, stop: int) -> np.ndarray:
        """Distances of some queries to the gallery, float32 [stop - start, g]; lower is nearer.

        Those of and to rows without a feature are infinite.
        """
        count = len(self.query_valid[start:stop])
        distances = np.empty((count, len(self.gallery_valid)), dtype=np.float32)
        self._fill(distances, start)
        return distances

    def _fill(self, distances: np.ndarray, start: int) -> None:
        """Write the distances of the queries from `start` on, as many as there are rows to fill."""
        stop = start + len(distances)
        first, last = (int(np.count_nonzero(self.query_valid[:row])) for row in (start, stop))
        shape = last - first, len(self.rows) - len(self.farthest)
        if shape == distances.shape:
            self._fill_valid(distances, first)
            return
        valid = np.empty(shape, dtype=np.float32)
        self._fill_valid(valid, first)
        distances.fill(np.inf)
        distances[np.ix_(self.query_valid[start:stop], self.gallery_valid)] = valid

    def _fill_valid(self, distances: np.ndarray, start: int) -> None:
        split, stop = len(self.farthest), start + len(distances)
        np.matmul(self.rows[start:stop], self.rows[split:].T, out=distances)
        distances *= -2
        distances += self.norms[start:stop, None]
        distances += self.norms[split:]
        distances *= self.weight / self.farthest[start:stop, None]
        for row in range(start, stop):
            overlap = self._overlap(row)
            distances[row - start] += (1 - self.weight) * (1 - overlap / (2 - overlap))

    def _overlap(self, row: int) -> np.ndarray:
        """Sum over neighbours of the lesser of both weights: float32 [g], from the rows that share any."""
        begin, end = self.query.indptr[row : row + 2]
        neighbours, weights = self.query.indices[begin:end], self.query.data[begin:end]
        first = self.gallery.indptr[neighbours]
        counts = self.gallery.indptr[neighbours + 1] - first
        entries = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        lesser = np.minimum(self.gallery.data[entries], np.repeat(weights, counts))
        overlap = np.bincount(self.gallery.indices[entries], lesser, minlength=self.gallery.shape[0])
        return overlap.astype(np.float32)


def k_reciprocal(
    query_features: Features,
    gallery_features: Features,
    metric: Metric = "cosine",
    *,
    k1: int = K1,
    k2: int = K2,
    weight: float = LAMBDA,
    query_valid: Array | None = None,
    gallery_valid: Array | None = None,
    device: str | torch.device = "cpu",
) -> Reranking:
    """Re-rank by k-reciprocal encoding (Zhong et al., Re-ranking Person Re-identification, CVPR 2017).

    The same as the published Python code on squared Euclidean distances, of unit-length features under
    cosine. Give the result to `evaluate(..., reranking=)` or `rank`. Rows that are equally near may be
    taken in another order than there.

    Args:
        query_features: float [q d]; computed in float32.
        gallery_features: float [g d]. Both sides are held in memory in float32.
        metric: "cosine" or "euclidean".
        k1: neighbours of the encoding.
        k2: nearest encodings averaged (local query expansion); 1 for none.
        weight: of the original distance, from 0 to 1; the published lambda.
        query_valid: bool [q], False where a row holds no feature and is no neighbour; None for all True.
        gallery_valid: bool [g], the same of the gallery.
        device: where neighbours are computed, all rows against all.

    Returns:
        A Reranking, which makes distances of some queries at a time.

    Raises:
        TypeError, ValueError: features as in `evaluate`, or settings outside their ranges.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> reranking = k_reciprocal(rng.normal(size=(2, 8)), rng.normal(size=(30, 8)), k1=5, k2=3)
        >>> reranking.distances(0, 2).shape
        (2, 30)
    """
    chosen = as_device(device)
    query, gallery, query_norms, gallery_norms, *valid = checked_features(
        query_features, gallery_features, metric, query_valid, gallery_valid
    )
    split, count = int(valid[0].sum()), int(valid[0].sum() + valid[1].sum())
    if not (1 <= k2 <= k1 + 1 <= count) or not 0 <= weight <= 1:
        raise ValueError(
            f"k1={k1}, k2={k2}, weight={weight}: expected 1 <= k2 <= k1 + 1 <= {count} (queries and gallery) "
            "and a weight from 0 to 1"
        )
    rows = np.empty((count, query.shape[1]), dtype=np.float32)
    norms = torch.cat([query_norms, gallery_norms]).to("cpu", torch.float32).numpy()[np.concatenate(valid)]
    filled = 0
    for features, mask in zip((query, gallery), valid, strict=True):
        for start in range(0, len(features), TILE_ROWS):
            tile = features[start : start + TILE_ROWS].to("cpu", torch.float32).numpy()
            tile = tile[mask[start : start + TILE_ROWS]]
            rows[filled : filled + len(tile)] = tile
            filled += len(tile)
    if metric == "cosine":
        rows /= np.sqrt(norms)[:, None]
        norms = np.ones(count, dtype=np.float32)

    neighbours, farthest = _nearest_and_farthest(rows, norms, k1 + 1, chosen)
    encoding = _weights(_expand(neighbours, k1), rows, norms, farthest)
    if k2 > 1:
        encoding = _links(neighbours[:, :k2]) @ encoding / np.float32(k2)
    gallery_encoding = sparse.csc_array(encoding[split:])
    return Reranking(rows, norms, farthest[:split], encoding[:split], gallery_encoding, weight, *valid)


def _expand(neighbours: np.ndarray, k1: int) -> sparse.coo_array:
    """Each row's k-reciprocal neighbours, and theirs that join them: entries of a matrix [n n]."""
    reciprocal = _mutual(neighbours)
    near = _mutual(neighbours[:, : round(k1 / 2) + 1])
    # A neighbour's own neighbours join where over two thirds of them are already there (the paper's R*).
    common = (reciprocal @ near).multiply(reciprocal).tocoo()
    joins = common.data > 2 / 3 * np.diff(near.indptr)[common.col]
    ones = np.ones(joins.sum(), dtype=np.float32)
    joined = sparse.csr_array((ones, (common.row[joins], common.col[joins])), reciprocal.shape)
    return (reciprocal + joined @ near).tocoo()


def _links(neighbours: np.ndarray) -> sparse.csr_array:
    """1 from each row to its neighbours, float32 [n n]."""
    count, k = neighbours.shape
    ones = np.ones(neighbours.size, dtype=np.float32)
    return sparse.csr_array((ones, neighbours.ravel(), np.arange(0, count * k + 1, k)), (count, count))


def _mutual(neighbours: np.ndarray) -> sparse.csr_array:
    """1 where two rows are among each other's neighbours, float32 [n n]."""
    links = _links(neighbours)
    return sparse.csr_array(links.multiply(links.T))


def _nearest_and_farthest(
    rows: np.ndarray, norms: np.ndarray, k: int, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of each, int64 [n k], and its squared distance to the farthest, float32 [n].

    One pass of products gives both, where faiss would have to search twice.
    """
    points, squares = torch.from_numpy(rows).to(device), torch.from_numpy(norms).to(device)
    neighbours, farthest = torch.empty(len(rows), k, dtype=torch.int64), torch.empty(len(rows))
    step = max(1, PRODUCTS_AT_A_TIME["cpu" if device.type == "cpu" else "cuda"] // len(rows))
    buffer = torch.empty(min(step, len(rows)), len(rows), device=device)
    for start in range(0, len(rows), step):
        some = slice(start, min(start + step, len(rows)))
        distances = buffer[: some.stop - start]
        torch.addmm(squares, points[some], points.T, alpha=-2, out=distances)  # but for the row's own norm
        neighbours[some] = distances.topk(k, largest=False).indices
        farthest[some] = squares[some] + distances.amax(dim=1)
    # Where all rows are the same, their distances are rounding: over this they stay near 0, not 0 / 0.
    farthest = farthest.clamp_(min=max(ROUNDING * float(squares.max()), torch.finfo(torch.float32).tiny))
    return neighbours.numpy(), farthest.numpy()


def _weights(
    pairs: sparse.coo_array, rows: np.ndarray, norms: np.ndarray, farthest: np.ndarray
) -> sparse.csr_array:
    """exp(-distance) over a row's neighbours, summing to 1; the row's largest distance is 1."""
    products = np.empty(pairs.nnz, dtype=np.float32)
    step = max(1, GATHER_BYTES // rows[:1].nbytes)
    for start in range(0, pairs.nnz, step):
        some = slice(start, start + step)
        products[some] = np.einsum("nd,nd->n", rows[pairs.row[some]], rows[pairs.col[some]])
    weights = np.exp(-(norms[pairs.row] + norms[pairs.col] - 2 * products) / farthest[pairs.row])
    sums = np.bincount(pairs.row, weights, minlength=len(rows)).astype(np.float32)
    weights /= sums[pairs.row]
    return sparse.csr_array((weights, (pairs.row, pairs.col)), pairs.shape)
