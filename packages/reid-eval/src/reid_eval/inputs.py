"""What callers hand in, checked once: features, identities and further columns, as NumPy or torch arrays."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from reid_eval.defaults import Metric

Features = np.ndarray | Tensor
Array = np.ndarray | Tensor | Sequence[Any]

JUNK_PID = -1
"""Identity of gallery rows that count neither for nor against (Market-1501's junk boxes)."""

ITEM = "item"
"""Column that names what a row was made of: a query never meets its own item in the gallery (MARS)."""

TILE_ROWS = 4096
"""Rows converted and multiplied at a time; bounds memory for galleries on disk or in half precision."""


class Columns(dict[str, Tensor]):
    """Columns of one side by name: pid, row, and what the caller gave (camid, clothes, ...), integers [n]."""

    def __missing__(self, name: str) -> Tensor:
        raise ValueError(
            f"the protocol needs the column {name!r}, and there are {sorted(self)}: give it in "
            "query_columns and gallery_columns (camid by query_camids and gallery_camids)"
        )


Protocol = Callable[[Columns, Columns], Tensor]
"""From some queries' columns [b] and the gallery's [g] to a bool [b g]: True where the pair counts."""


@dataclass(frozen=True, eq=False)
class Retrieval:
    """Checked queries and gallery, and how they are compared.

    Attributes:
        query: float [q d].
        gallery: float [g d].
        query_norms: squared norms [q].
        gallery_norms: squared norms [g].
        query_columns: pid, row and others, [q] each.
        gallery_columns: the same names, [g] each.
        query_valid: bool [q], False where a query has no feature.
        gallery_valid: bool [g], the same of the gallery.
        metric: "cosine" or "euclidean".
        protocol: which pairs count.
        device: where features are multiplied and counted.
    """

    query: Tensor
    gallery: Tensor
    query_norms: Tensor
    gallery_norms: Tensor
    query_columns: Columns
    gallery_columns: Columns
    query_valid: Tensor
    gallery_valid: Tensor
    metric: Metric
    protocol: Protocol
    device: torch.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the scores: float64 where either side is, float32 otherwise."""
        return self.query_norms.dtype


def check_inputs(
    query_features: Features,
    gallery_features: Features,
    query_pids: Array,
    gallery_pids: Array,
    query_camids: Array | None,
    gallery_camids: Array | None,
    metric: Metric,
    protocol: Protocol,
    query_columns: Mapping[str, Array] | None,
    gallery_columns: Mapping[str, Array] | None,
    query_valid: Array | None,
    gallery_valid: Array | None,
    device: str | torch.device,
) -> Retrieval:
    """Check all arguments of `evaluate` before any long work; its docstring has them and what is raised."""
    query, gallery, query_norms, gallery_norms, *masks = checked_features(
        query_features, gallery_features, metric, query_valid, gallery_valid
    )
    device = as_device(device)
    given = [
        {"pid": pids, **({} if camids is None else {"camid": camids}), **(more or {})}
        for pids, camids, more in (
            (query_pids, query_camids, query_columns),
            (gallery_pids, gallery_camids, gallery_columns),
        )
    ]
    if given[0].keys() != given[1].keys():
        raise ValueError(
            "columns go together: give query_camids and gallery_camids both or neither, and the same names "
            f"in query_columns and gallery_columns; got {[*given[0]]} and {[*given[1]]}"
        )
    columns = Columns(row=torch.arange(len(query))), Columns(row=torch.arange(len(gallery)))
    for name in given[0]:
        text = name not in ("pid", "camid")
        ids = [
            as_ids(
                side[name],
                f"{label}_columns[{name!r}]" if text else f"{label}_{name}s",
                len(features),
                f"{label}_features",
                text,
            )
            for label, side, features in zip(("query", "gallery"), given, (query, gallery), strict=True)
        ]
        columns[0][name], columns[1][name] = _comparable(*ids)
    asked, answers = (Columns((name, ids.to(device)) for name, ids in side.items()) for side in columns)
    query_mask, gallery_mask = (torch.from_numpy(mask).to(device) for mask in masks)
    return Retrieval(
        query,
        gallery,
        query_norms,
        gallery_norms,
        asked,
        answers,
        query_mask,
        gallery_mask,
        metric,
        protocol,
        device,
    )


def checked_features(
    query_features: Features,
    gallery_features: Features,
    metric: Metric,
    query_valid: Array | None = None,
    gallery_valid: Array | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, np.ndarray, np.ndarray]:
    """Features [n d], squared norms [n] and masks [n] of both sides.

    Features are not copied (memory maps stay on disk). The norm of a row that is not valid is 1, whatever
    the row holds.

    Raises:
        TypeError: features that are not floating point, masks that are not boolean.
        ValueError: another metric, shapes that differ, or valid rows that no metric can rank.
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
    asked = as_valid(query_valid, "query_valid", len(query))
    answers = as_valid(gallery_valid, "gallery_valid", len(gallery))
    dtype = torch.float64 if torch.float64 in (query.dtype, gallery.dtype) else torch.float32
    query_norms = squared_norms(query, "query_features", metric, dtype, asked)
    gallery_norms = squared_norms(gallery, "gallery_features", metric, dtype, answers)
    return query, gallery, query_norms, gallery_norms, asked, answers


def check_order(names: Sequence[str], manifest_names: Sequence[str], argument: str) -> None:
    """Refuse features whose rows are in another order than the manifest's.

    Args:
        names: what each feature row was made of, such as its image's path, as saved with the features.
        manifest_names: the same column of the manifest.
        argument: what the error calls the features.

    Raises:
        ValueError: another length, or a row of another name; the first such row is shown.

    Example:
        >>> check_order(["a.jpg", "c.jpg"], ["a.jpg", "b.jpg"], "query_features")
        Traceback (most recent call last):
        ...
        ValueError: query_features: row 1 was made from 'c.jpg' but the manifest has 'b.jpg' there (1 such
        rows): sort one like the other
    """
    if len(names) != len(manifest_names):
        raise ValueError(f"{argument} has {len(names)} rows but the manifest {len(manifest_names)}")
    wrong = np.flatnonzero(np.asarray(names, dtype=str) != np.asarray(manifest_names, dtype=str))
    if len(wrong):
        row = wrong[0]
        raise ValueError(
            f"{argument}: row {row} was made from {names[row]!r} but the manifest has "
            f"{manifest_names[row]!r} there ({len(wrong)} such rows): sort one like the other"
        )


def as_features(features: Features, name: str) -> Tensor:
    """A [n d] torch view of the features, without a copy; memory-mapped arrays stay on disk."""
    if isinstance(features, np.ndarray):
        if features.dtype.kind != "f" or features.dtype.itemsize > 8:
            raise TypeError(
                f"{name} must be float16, float32 or float64, got {features.dtype}; convert it first"
            )
        array = features if features.dtype.isnative else features.astype(features.dtype.newbyteorder("="))
        tensor = _from_numpy(array)
    elif isinstance(features, Tensor):
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


def _from_numpy(array: np.ndarray) -> Tensor:
    if any(stride < 0 for stride in array.strides):
        array = np.ascontiguousarray(array)
    # A read-only memory map: nothing here writes to it, so torch's warning would only be noise.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)


def as_device(device: str | torch.device) -> torch.device:
    """The device by its name.

    Raises:
        ValueError: no such device, or a GPU that isn't there.

    Example:
        >>> as_device("cpu")
        device(type='cpu')
    """
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device={device}: expected cpu or cuda ({str(error).splitlines()[0]})") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device={device}, but torch sees {torch.cuda.device_count()} GPUs here: give cpu")
    return chosen


def as_valid(valid: Array | None, name: str, rows: int) -> np.ndarray:
    """The mask of rows that hold a feature, bool [n]; None is all of them.

    Raises:
        TypeError: not boolean.
        ValueError: another number of entries than rows, or no valid row.

    Example:
        >>> as_valid(None, "valid", 2)
        array([ True,  True])
    """
    if valid is None:
        return np.ones(rows, dtype=bool)
    mask = valid.detach().cpu().numpy() if isinstance(valid, Tensor) else np.asarray(valid)
    if mask.dtype != bool:
        raise TypeError(f"{name} must be boolean, True where a row holds a feature; got {mask.dtype}")
    if mask.shape != (rows,):
        raise ValueError(f"{name} has shape {mask.shape}, but there are {rows} rows of features")
    if not mask.any():
        raise ValueError(f"{name}: none of the {rows} rows holds a feature; check that images can be read")
    return mask


def squared_norms(
    features: Tensor, name: str, metric: Metric, dtype: torch.dtype, valid: np.ndarray
) -> Tensor:
    """Squared Euclidean norm of each row [n], on the CPU, which also shows the rows no metric can rank.

    That of a row that is not valid is 1.
    """
    norms = torch.empty(len(features), dtype=dtype)
    for start in range(0, len(features), TILE_ROWS):
        tile = features[start : start + TILE_ROWS].to(dtype)
        norms[start : start + len(tile)] = torch.linalg.vecdot(tile, tile)
    norms[torch.from_numpy(~valid)] = 1
    # A dot product is at most the larger squared norm: a quarter of the range has room for a sum of three.
    bad = ~(norms < torch.finfo(dtype).max / 4)
    if bad.any():
        row = int(bad.nonzero()[0])
        values = features[row]
        kind = "NaN" if values.isnan().any() else "infinite" if values.isinf().any() else "overflowing"
        raise ValueError(
            f"{name}: row {row} holds {kind} values ({int(bad.sum())} such rows); find out where they came "
            "from, and mark rows without a feature by query_valid and gallery_valid"
        )
    if metric == "cosine" and (norms == 0).any():
        row = int((norms == 0).nonzero()[0])
        raise ValueError(
            f"{name}: row {row} is all zero ({int((norms == 0).sum())} such rows); its cosine is undefined: "
            "mark rows without a feature by query_valid and gallery_valid, or use metric='euclidean'"
        )
    return norms


def as_ids(ids: Array, name: str, rows: int, features_name: str, text: bool = False) -> np.ndarray:
    """Identities, cameras or another column, integers or else text [n], as many as there are feature rows."""
    array = ids.detach().cpu().numpy() if isinstance(ids, Tensor) else np.asarray(ids)
    if array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {array.shape}")
    if len(array) != rows:
        raise ValueError(
            f"{name} has {len(array)} entries but {features_name} has {rows} rows; "
            f"row {min(len(array), rows)} is the first without a partner"
        )
    if array.dtype.kind not in ("iubOUT" if text else "iu"):
        kinds = "integers or text" if text else "integers"
        raise TypeError(
            f"{name} must be {kinds}, got {array.dtype} (row 0 is {array[0]!r}); convert it to int64"
        )
    if array.dtype.kind in "OUT":
        return array.astype(str)
    large = np.flatnonzero(
        array > np.iinfo(np.int64).max
    )  # unsigned: -1 of int64, which is junk, as 2^64 - 1
    if len(large):
        raise ValueError(
            f"{name}: row {large[0]} is {array[large[0]]}; expected an integer of 64 bits, signed"
        )
    return array.astype(np.int64, copy=False)


def _comparable(query: np.ndarray, gallery: np.ndarray) -> tuple[Tensor, Tensor]:
    """Both sides in one integer type: text numbered from 0; int32 where all fit, which compares faster."""
    if "U" in (query.dtype.kind, gallery.dtype.kind):
        codes = np.unique(np.concatenate([query.astype(str), gallery.astype(str)]), return_inverse=True)[1]
        query, gallery = codes[: len(query)], codes[len(query) :]
    limits = np.iinfo(np.int32)
    fits = all(limits.min <= ids.min() and ids.max() <= limits.max for ids in (query, gallery))
    dtype = np.int32 if fits else np.int64
    return torch.from_numpy(query.astype(dtype)), torch.from_numpy(gallery.astype(dtype))
