"""Accuracy from camera to camera: which pairs of cameras a model fails on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from reid_eval.evaluation import NoValidQuery, evaluate

ALL_ROWS = ("query_columns", "gallery_columns")
"""Arguments that hold a mapping of arrays."""


class CameraPairs(NamedTuple):
    """mAP and Rank-1 of the queries of one camera among the gallery rows of another.

    Attributes:
        query_cameras: int64 [c], ascending.
        gallery_cameras: int64 [d], ascending.
        mAP: float64 [c d], from 0 to 1; NaN where no query has a right answer.
        rank_1: float64 [c d], the same.
        queries: int64 [c d], valid queries.
    """

    query_cameras: np.ndarray
    gallery_cameras: np.ndarray
    mAP: np.ndarray
    rank_1: np.ndarray
    queries: np.ndarray


def camera_pairs(arguments: Mapping[str, Any]) -> CameraPairs:
    """Evaluate each pair of cameras alone; all pairs together cost as much as one evaluation.

    Args:
        arguments: of `evaluate`, by name; both sides' camera ids among them.

    Returns:
        The accuracy of each pair.

    Raises:
        ValueError: a side without camera ids, and as `evaluate`.

    Example:
        >>> sides = {
        ...     "query_features": np.eye(2),
        ...     "gallery_features": np.eye(2)[[0, 1, 1, 0]],
        ...     "query_pids": [1, 2],
        ...     "gallery_pids": [1, 2, 1, 2],
        ...     "query_camids": [1, 1],
        ...     "gallery_camids": [2, 2, 3, 3],
        ... }
        >>> camera_pairs(sides).mAP.tolist()  # right in camera 2, wrong in camera 3
        [[1.0, 0.5]]
    """
    cameras = [arguments.get(f"{side}_camids") for side in ("query", "gallery")]
    if cameras[0] is None or cameras[1] is None:
        raise ValueError("camera_pairs needs query_camids and gallery_camids")
    query_camids, gallery_camids = (np.asarray(each) for each in cameras)
    froms, tos = np.unique(query_camids), np.unique(gallery_camids)
    queries = np.zeros((len(froms), len(tos)), dtype=np.int64)
    mean, first = (np.full(queries.shape, np.nan) for _ in range(2))
    for row, one in enumerate(froms):
        for column, other in enumerate(tos):
            part = take_rows(arguments, "query", np.flatnonzero(query_camids == one))
            part = take_rows(part, "gallery", np.flatnonzero(gallery_camids == other))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # queries whose person the other camera has not seen
                try:
                    result = evaluate(**part | {"ranks": (1,), "far": ()})
                except NoValidQuery:
                    continue
            queries[row, column] = result.num_valid_queries
            mean[row, column], first[row, column] = result.mAP, result.cmc[1]
    return CameraPairs(froms, tos, mean, first, queries)


def take_rows(arguments: Mapping[str, Any], side: str, rows: np.ndarray) -> dict[str, Any]:
    """Arguments of `evaluate` or `rank` with some rows of one side.

    Args:
        arguments: by name.
        side: query or gallery.
        rows: int, of that side.

    Example:
        >>> take_rows({"query_pids": [4, 5, 6], "gallery_pids": [7]}, "query", np.array([2, 0]))
        {'query_pids': array([6, 4]), 'gallery_pids': [7]}
    """
    found = dict(arguments)
    for name, value in arguments.items():
        if not name.startswith(f"{side}_") or value is None:
            continue
        if name in ALL_ROWS:
            found[name] = {column: np.asarray(values)[rows] for column, values in value.items()}
        else:
            found[name] = value[rows] if hasattr(value, "shape") else np.asarray(value)[rows]
    return found
