"""Scores of queries against the gallery, streamed in blocks, with what the protocol leaves out gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch

from reid_eval.inputs import JUNK_PID, TILE_ROWS, Array, as_features, as_ids, squared_norms

Metric = Literal["cosine", "euclidean"]

SCORE_BLOCK_BYTES = 64 * 2**20
"""Largest [queries, gallery] block of scores in memory at a time."""

LEFT_OUT = -np.inf
"""Score of a gallery row that the protocol leaves out for this query: below every real score."""

Exclude = Callable[[int], np.ndarray]
"""From a query's row to a bool [g], True where a gallery row is to be left out for it."""


class QueryScores(NamedTuple):
    """One query's view of the gallery.

    Attributes:
        query: row of the query.
        scores: float [g], higher is nearer, LEFT_OUT where the protocol leaves the row out;
            the memory is reused for later queries.
        positives: int64 [p], gallery rows that are right answers, ascending.
    """

    query: int
    scores: np.ndarray
    positives: np.ndarray


def query_scores(
    query_features: np.ndarray | torch.Tensor,
    gallery_features: np.ndarray | torch.Tensor,
    query_pids: Array,
    gallery_pids: Array,
    query_camids: Array,
    gallery_camids: Array,
    metric: Metric = "cosine",
    *,
    query_tracklets: Array | None = None,
    gallery_tracklets: Array | None = None,
    exclude: Exclude | None = None,
    device: str | torch.device = "cpu",
) -> Iterator[QueryScores]:
    """Check the arguments (at once), then yield each query's scores; see `evaluate` for the arguments.

    Only a block of [queries, gallery] scores is ever in memory, and gallery features pass through in tiles.
    """
    if metric not in get_args(Metric):
        raise ValueError(f"metric must be one of {get_args(Metric)}, got {metric!r}")
    query, gallery = (
        as_features(query_features, "query_features"),
        as_features(gallery_features, "gallery_features"),
    )
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"query_features has {query.shape[1]} columns but gallery_features {gallery.shape[1]}; "
            "both must come from the same model"
        )
    pids = as_ids(query_pids, "query_pids", len(query), "query_features")
    camids = as_ids(query_camids, "query_camids", len(query), "query_features")
    wide_pids = as_ids(gallery_pids, "gallery_pids", len(gallery), "gallery_features")
    wide_camids = as_ids(gallery_camids, "gallery_camids", len(gallery), "gallery_features")
    if (query_tracklets is None) != (gallery_tracklets is None):
        raise ValueError("query_tracklets and gallery_tracklets go together: give both or neither")
    tracklets = wide_tracklets = None
    if query_tracklets is not None and gallery_tracklets is not None:
        tracklets = as_ids(query_tracklets, "query_tracklets", len(query), "query_features")
        wide_tracklets = as_ids(gallery_tracklets, "gallery_tracklets", len(gallery), "gallery_features")

    dtype = torch.float64 if torch.float64 in (query.dtype, gallery.dtype) else torch.float32
    query_norms = squared_norms(query, "query_features", metric, dtype)
    gallery_norms = squared_norms(gallery, "gallery_features", metric, dtype)

    by_pid = np.argsort(wide_pids, kind="stable")
    sorted_pids = wide_pids[by_pid]
    junk = by_pid[slice(*np.searchsorted(sorted_pids, (JUNK_PID, JUNK_PID + 1)))]

    def rows() -> Iterator[QueryScores]:
        for start, block in _blocks(query, gallery, query_norms, gallery_norms, metric, dtype, device):
            for offset, scores in enumerate(block):
                row = start + offset
                same = by_pid[slice(*np.searchsorted(sorted_pids, (pids[row], pids[row] + 1)))]
                own_camera = wide_camids[same] == camids[row]
                scores[same[own_camera]] = LEFT_OUT
                scores[junk] = LEFT_OUT
                if tracklets is not None and tracklets[row] >= 0:
                    scores[wide_tracklets == tracklets[row]] = LEFT_OUT
                if exclude is not None:
                    scores[_excluded(exclude, row, len(gallery))] = LEFT_OUT
                positives = same[scores[same] != LEFT_OUT]
                yield QueryScores(row, scores, positives)

    return rows()


def _excluded(exclude: Exclude, row: int, gallery: int) -> np.ndarray:
    mask = np.asarray(exclude(row))
    if mask.dtype != np.bool_ or mask.shape != (gallery,):
        raise TypeError(
            f"exclude({row}) must return a bool array of shape ({gallery},), True where a row is left out; "
            f"got {mask.dtype} of shape {mask.shape}"
        )
    return mask


def _blocks(
    query: torch.Tensor,
    gallery: torch.Tensor,
    query_norms: torch.Tensor,
    gallery_norms: torch.Tensor,
    metric: Metric,
    dtype: torch.dtype,
    device: str | torch.device,
) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks [b g] of scores with the first query's row: the cosine, or a distance turned round.

    The squared distance |q|^2 + |g|^2 - 2 q.g orders a query's gallery as 2 q.g - |g|^2 does, upside down.
    """
    step = max(1, min(len(query), SCORE_BLOCK_BYTES // (len(gallery) * dtype.itemsize)))
    scores = torch.empty(step, len(gallery), dtype=dtype)
    for start in range(0, len(query), step):
        few = query[start : start + step].to(device=device, dtype=dtype)
        if metric == "cosine":
            few = few / query_norms[start : start + step].to(device).sqrt()[:, None]
        for left in range(0, len(gallery), TILE_ROWS):
            tile = gallery[left : left + TILE_ROWS].to(device=device, dtype=dtype)
            norms = gallery_norms[left : left + TILE_ROWS].to(device)
            if metric == "cosine":
                product = few @ (tile / norms.sqrt()[:, None]).T
            else:
                product = (few @ tile.T).mul_(2).sub_(norms)
            scores[: len(few), left : left + len(tile)] = product.cpu()
        yield start, scores[: len(few)].numpy()
