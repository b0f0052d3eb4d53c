"""Nearest gallery rows of each query with faiss, the gallery on disk: exact, or by an inverted file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import faiss
import numpy as np
import torch
from torch import Tensor

from reid_eval.defaults import Metric
from reid_eval.inputs import Array, Features, as_features, as_valid, checked_features, squared_norms
from reid_eval.saving import write_whole

CHUNK_ROWS = 65536
"""Gallery rows converted to float32 at a time: 128 MB at 512 columns."""

TRAINING_ROWS_A_LIST = 64
"""Rows that k-means sees for each inverted list; faiss asks for 39 at least."""

PROBES = 16
"""Inverted lists searched for a query."""


class Found(NamedTuple):
    """The nearest gallery rows of each query.

    Attributes:
        indices: int64 [q k], nearest first; -1 for a query without a feature, and where fewer than k gallery
            rows have one or an inverted file found fewer.
        scores: float32 [q k], cosines, or squared Euclidean distances turned round; -inf where no row is.
    """

    indices: np.ndarray
    scores: np.ndarray


def exact_search(
    query_features: Features,
    gallery_features: Features,
    k: int,
    metric: Metric = "cosine",
    *,
    query_valid: Array | None = None,
    gallery_valid: Array | None = None,
    gpu: bool = False,
) -> Found:
    """The k nearest gallery rows of each query, exactly; the gallery passes through memory in pieces.

    Args:
        query_features: float [q d].
        gallery_features: float [g d], in memory or memory-mapped, in half precision too.
        k: rows per query, at most g.
        metric: "cosine" or "euclidean".
        query_valid: bool [q], False where a row holds no feature; None for all True.
        gallery_valid: bool [g], the same of the gallery; such a row is never found.
        gpu: search on faiss' first GPU.

    Returns:
        Found(indices int64 [q k], scores float32 [q k]).

    Raises:
        TypeError, ValueError: features as in `evaluate`, or a k outside 1..g.

    Example:
        >>> found = exact_search(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), k=2)
        >>> found.indices.tolist(), found.scores.round(3).tolist()
        ([[1, 2]], [[1.0, 0.707]])
    """
    query, gallery, _, _, asked, valid = checked_features(
        query_features, gallery_features, metric, query_valid, gallery_valid
    )
    if not 1 <= k <= len(gallery):
        raise ValueError(f"k must be from 1 to the gallery's {len(gallery)} rows, got {k}")
    queries = _rows(query, 0, len(query), metric, asked)
    nearest = partial(faiss.knn_gpu, faiss.StandardGpuResources()) if gpu else faiss.knn
    best = faiss.ResultHeap(len(queries), k, keep_max=metric == "cosine")
    for start in range(0, len(gallery), CHUNK_ROWS):
        mask = valid[start : start + CHUNK_ROWS]
        if not mask.any():
            continue
        rows = _rows(gallery, start, start + CHUNK_ROWS, metric, mask)
        values, indices = nearest(queries, rows, min(k, len(rows)), metric=_faiss_metric(metric))
        best.add_result(values, start + np.flatnonzero(mask)[indices])  # type: ignore[arg-type]
    best.finalize()
    return _as_found(best.I, best.D, metric, asked)


def build_index(
    gallery_features: Features,
    path: str | Path,
    lists: int,
    metric: Metric = "cosine",
    *,
    gallery_valid: Array | None = None,
    seed: int = 0,
) -> Path:
    """Write an inverted file of the gallery in half precision, for `index_search`.

    Args:
        gallery_features: float [g d], in memory or memory-mapped; read in pieces.
        path: file to write, 2 bytes per number.
        lists: inverted lists; about the square root of g, times 4 for large galleries.
        metric: "cosine" or "euclidean".
        gallery_valid: bool [g], False where a row holds no feature and stays out; None for all True.
        seed: of k-means and the sample that it sees.

    Returns:
        The path.

    Raises:
        TypeError, ValueError: features as in `evaluate`, or lists outside 1..g.
    """
    gallery = as_features(gallery_features, "gallery_features")
    valid = as_valid(gallery_valid, "gallery_valid", len(gallery))
    squared_norms(gallery, "gallery_features", metric, torch.float32, valid)
    readable = np.flatnonzero(valid)
    if not 1 <= lists <= len(readable):
        raise ValueError(
            f"lists must be from 1 to the gallery's {len(readable)} rows with a feature, got {lists}"
        )
    columns = gallery.shape[1]
    centres = (faiss.IndexFlatIP if metric == "cosine" else faiss.IndexFlatL2)(columns)
    half = faiss.ScalarQuantizer.QT_fp16
    index = faiss.IndexIVFScalarQuantizer(centres, columns, lists, half, _faiss_metric(metric), False)
    index.cp.seed = seed + 1
    count = min(len(readable), lists * TRAINING_ROWS_A_LIST)
    sample = np.sort(np.random.default_rng(seed).choice(readable, count, replace=False))
    every = np.ones(count, dtype=bool)
    index.train(_rows(gallery[torch.from_numpy(sample)], 0, count, metric, every))
    for start in range(0, len(gallery), CHUNK_ROWS):
        mask = valid[start : start + CHUNK_ROWS]
        if mask.any():
            rows = _rows(gallery, start, start + CHUNK_ROWS, metric, mask)
            index.add_with_ids(rows, start + np.flatnonzero(mask))
    return write_whole(path, lambda temporary: faiss.write_index(index, str(temporary)))


def index_search(
    query_features: Features,
    path: str | Path,
    k: int,
    metric: Metric = "cosine",
    *,
    query_valid: Array | None = None,
    probes: int = PROBES,
) -> Found:
    """The k nearest gallery rows of each query in a file of `build_index`, which stays on disk.

    Approximate: only the lists nearest to a query are looked at, and the gallery is in half precision.

    Args:
        query_features: float [q d].
        path: the file.
        k: rows per query.
        metric: that of the file.
        query_valid: bool [q], False where a row holds no feature; None for all True.
        probes: inverted lists searched for each query; all of them gives the exact answer in half precision.

    Returns:
        Found(indices int64 [q k], scores float32 [q k]).

    Raises:
        ValueError: features that do not fit the file, another metric, or a k or probes below 1.
    """
    query = as_features(query_features, "query_features")
    asked = as_valid(query_valid, "query_valid", len(query))
    squared_norms(query, "query_features", metric, torch.float32, asked)
    index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
    if index.d != query.shape[1] or index.metric_type != _faiss_metric(metric):
        raise ValueError(
            f"{path} has {index.d} columns, and query_features {query.shape[1]}; or it is not of "
            f"metric={metric!r}: build it from the same model's features and with the same metric"
        )
    if k < 1 or probes < 1:
        raise ValueError(f"k and probes must be at least 1, got {k} and {probes}")
    settings = faiss.SearchParametersIVF(nprobe=probes)  # type: ignore[call-arg]  # unknown to faiss' stubs
    values, indices = index.search(_rows(query, 0, len(query), metric, asked), k, params=settings)
    return _as_found(indices, values, metric, asked)


def _as_found(indices: np.ndarray, values: np.ndarray, metric: Metric, asked: np.ndarray) -> Found:
    """What faiss found for the queries with a feature, as answers to all [q k]."""
    scores = values if metric == "cosine" else -values
    broken = (indices >= 0) & ~np.isfinite(scores)
    if broken.any():
        query, place = np.argwhere(broken)[0]
        raise ValueError(
            f"query {np.flatnonzero(asked)[query]}, gallery row {indices[query, place]}: the score is "
            f"{scores[query, place]:g}, which has no rank ({broken.sum()} such pairs); build the index anew "
            "from finite features"
        )
    found = Found(
        np.full((len(asked), indices.shape[1]), -1, dtype=np.int64),
        np.full((len(asked), indices.shape[1]), -np.inf, dtype=np.float32),
    )
    found.indices[asked] = indices
    found.scores[asked] = np.where(indices < 0, -np.inf, scores)
    return found


def _rows(features: Tensor, start: int, stop: int, metric: Metric, valid: np.ndarray) -> np.ndarray:
    """Those of some rows [n] that are valid [n], in float32, of unit length under cosine."""
    rows = features[start:stop].to("cpu", torch.float32)[torch.from_numpy(valid)]
    if metric == "cosine":
        rows = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return np.ascontiguousarray(rows.numpy())


def _faiss_metric(metric: Metric) -> int:
    return faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
