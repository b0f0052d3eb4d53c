"""What callers hand in, checked once: features, identities and cameras as NumPy or torch arrays."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch

Array = np.ndarray | torch.Tensor | Sequence[int]

JUNK_PID = -1
"""Identity of gallery rows that count neither for nor against (Market-1501's junk boxes)."""

TILE_ROWS = 4096
"""Rows converted and multiplied at a time; bounds memory for galleries on disk or in half precision."""


def as_features(features: np.ndarray | torch.Tensor, name: str) -> torch.Tensor:
    """A [n d] torch view of the features, without a copy; memory-mapped arrays stay on disk.

    Raises:
        TypeError: not an array, or not floating point.
        ValueError: not two-dimensional, or empty.
    """
    if isinstance(features, np.ndarray):
        if features.dtype.kind != "f" or features.dtype.itemsize > 8:
            raise TypeError(
                f"{name} must be float16, float32 or float64, got {features.dtype}; convert it first"
            )
        array = features if features.dtype.isnative else features.astype(features.dtype.newbyteorder("="))
        tensor = _from_numpy(array)
    elif isinstance(features, torch.Tensor):
        tensor = features.detach()
    else:
        raise TypeError(f"{name} must be a NumPy or torch array [n d], got {type(features).__name__}")
    if not tensor.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {tensor.dtype}; convert it first")
    if tensor.ndim != 2 or 0 in tensor.shape:
        raise ValueError(
            f"{name} must be a non-empty [n d] array, one row an item, got shape {tuple(tensor.shape)}"
        )
    return tensor


def _from_numpy(array: np.ndarray) -> torch.Tensor:
    if any(stride < 0 for stride in array.strides):
        array = np.ascontiguousarray(array)
    if array.flags.writeable:
        return torch.from_numpy(array)
    # A read-only memory map: nothing here writes to it, so torch's warning would only be noise.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)


def as_ids(ids: Array, name: str, rows: int, features_name: str) -> np.ndarray:
    """Identities, cameras or tracklets as int64 [n], as many as there are feature rows.

    Raises:
        TypeError: not integers (the first row is shown).
        ValueError: not one-dimensional, or another length than the features.
    """
    array = ids.detach().cpu().numpy() if isinstance(ids, torch.Tensor) else np.asarray(ids)
    if array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {array.shape}")
    if len(array) != rows:
        raise ValueError(
            f"{name} has {len(array)} entries but {features_name} has {rows} rows; "
            f"row {min(len(array), rows)} is the first without a partner"
        )
    if array.dtype.kind not in "iu":
        raise TypeError(
            f"{name} must be integers, got {array.dtype} (row 0 is {array[0]!r}); convert it to int64"
        )
    return array.astype(np.int64, copy=False)


def squared_norms(features: torch.Tensor, name: str, metric: str, dtype: torch.dtype) -> torch.Tensor:
    """Squared Euclidean norm of each row [n], which also shows the rows no metric can rank.

    Raises:
        ValueError: a row with NaN, with infinite or overflowing values, or of norm zero under cosine.
    """
    norms = torch.empty(len(features), dtype=dtype)
    for start in range(0, len(features), TILE_ROWS):
        tile = features[start : start + TILE_ROWS].to(device="cpu", dtype=dtype)
        norms[start : start + len(tile)] = torch.linalg.vecdot(tile, tile)
    # A dot product is at most the larger squared norm: a quarter of the range has room for a sum of three.
    bad = ~(norms < torch.finfo(dtype).max / 4)
    if bad.any():
        row = int(bad.nonzero()[0])
        values = features[row]
        kind = "NaN" if values.isnan().any() else "infinite" if values.isinf().any() else "overflowing"
        raise ValueError(
            f"{name}: row {row} holds {kind} values ({int(bad.sum())} such rows); "
            "find out where they came from, or drop the rows from features, pids and camids alike"
        )
    if metric == "cosine" and (norms == 0).any():
        row = int((norms == 0).nonzero()[0])
        raise ValueError(
            f"{name}: row {row} is all zero ({int((norms == 0).sum())} such rows); its cosine is undefined: "
            "drop the row or use metric='euclidean'"
        )
    return norms
