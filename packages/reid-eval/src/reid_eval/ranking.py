"""The first answers to each query, for ranked-list pictures and for looking at mistakes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from reid_eval.defaults import TOP, Metric
from reid_eval.inputs import Array, Features, Protocol, check_inputs
from reid_eval.protocols import cross_camera
from reid_eval.rerank import Reranking
from reid_eval.scores import LEFT_OUT, tiles


class Ranked(NamedTuple):
    """The nearest gallery rows of each query.

    Attributes:
        indices: int64 [q k], gallery rows, nearest first; -1 where the protocol leaves fewer than k.
        correct: bool [q k], whether the row is the query's person.
    """

    indices: np.ndarray
    correct: np.ndarray


def rank(
    query_features: Features,
    gallery_features: Features,
    query_pids: Array,
    gallery_pids: Array,
    query_camids: Array | None = None,
    gallery_camids: Array | None = None,
    metric: Metric = "cosine",
    k: int = TOP,
    *,
    protocol: Protocol = cross_camera,
    query_columns: Mapping[str, Array] | None = None,
    gallery_columns: Mapping[str, Array] | None = None,
    query_valid: Array | None = None,
    gallery_valid: Array | None = None,
    reranking: Reranking | None = None,
    device: str | torch.device = "cpu",
) -> Ranked:
    """The k nearest gallery rows of each query among those that the protocol leaves.

    Equal scores stay in gallery order. To look at some queries alone, pass those rows alone. A query that
    `query_valid` marks as unreadable has no answers, and an unreadable gallery row is none.

    Args:
        k: rows per query; the other arguments are those of `evaluate`.

    Returns:
        Ranked(indices int64 [q k], correct bool [q k]).

    Raises:
        TypeError, ValueError: as `evaluate`, but a query without a match is no error here.

    Example:
        >>> import numpy as np
        >>> query = np.array([[1.0, 0.0]])
        >>> gallery = np.array([[0.0, 1.0], [1.0, 0.1], [1.0, 0.2], [1.0, 0.0]])
        >>> rank(query, gallery, [7], [8, 9, 7, 7], [1], [2, 2, 2, 1], k=4)
        Ranked(indices=array([[ 1,  2,  0, -1]]), correct=array([[False,  True, False, False]]))
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    retrieval = check_inputs(
        query_features,
        gallery_features,
        query_pids,
        gallery_pids,
        query_camids,
        gallery_camids,
        metric,
        protocol,
        query_columns,
        gallery_columns,
        query_valid,
        gallery_valid,
        device,
    )
    indices = np.full((len(query_features), k), -1, dtype=np.int64)
    correct = np.zeros((len(query_features), k), dtype=bool)
    for tile in tiles(retrieval, reranking.block(retrieval) if reranking else None):
        rows, cols = tile.rows.cpu().numpy(), tile.cols.cpu().numpy()
        for number, scores in enumerate(tile.scores.cpu().numpy()):
            first = first_rows(scores, k)
            indices[tile.start + number, : len(first)] = first
            correct[tile.start + number, : len(first)] = np.isin(first, cols[rows == number])
    return Ranked(indices, correct)


def first_rows(scores: np.ndarray, k: int) -> np.ndarray:
    """Rows of the k highest scores, highest first, equal ones in order, rows left out (-inf) never.

    Example:
        >>> first_rows(np.array([0.5, 0.9, 0.5, -np.inf, 0.1]), 2)
        array([1, 0])
    """
    lowest = np.partition(scores, -k)[-k] if k < len(scores) else LEFT_OUT
    candidates = np.flatnonzero((scores >= lowest) & (scores > LEFT_OUT))
    return candidates[np.argsort(-scores[candidates], kind="stable")][:k]
