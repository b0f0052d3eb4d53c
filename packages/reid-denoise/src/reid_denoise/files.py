"""Features, manifest, identities and report as files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reid_denoise.cameras import center_by_camera
from reid_denoise.constraints import simultaneous
from reid_denoise.saved import write_whole

LEAVES_ROOT = r"^$|^/|\\|^[A-Za-z]:|(?:^|/)\.\.(?:/|$)"
"""A path that is empty, absolute (POSIX or with a drive), or climbs with ".."."""
SIMULTANEOUS = "simultaneous"
"""In place of a file of pairs: the tracklets that are seen at one time in one video."""
CENTERED = "centered.npy"
ROOT = b"reid.root"
"""Key of a manifest's metadata: the folder that its paths are relative to."""


class Inputs(NamedTuple):
    """What there is to denoise.

    Attributes:
        features: float [n d], mapped from the file.
        tracklets: int64 [n], -1 for an image without a tracklet.
        videos: int64 [n].
        table: the manifest, n rows.
        valid: bool [n], False for an image whose row is marked as holding no feature.
    """

    features: np.ndarray
    tracklets: np.ndarray
    videos: np.ndarray
    table: pa.Table
    valid: np.ndarray


def read_inputs(features: str | Path, manifest: str | Path) -> Inputs:
    """Map features and read the manifest whose rows they are.

    Beside f.npy may lie f.valid.npy, bool [n], which marks the rows that hold a feature (a picture that could
    not be read has none).

    Args:
        features: *.npy, float [n d].
        manifest: Parquet with the columns tracklet and video, one row per row of features.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file of another kind, a missing column, other numbers of rows, a path that leaves the
            root (`inspect` would refuse it after all the work).
    """
    table = read_table(manifest, ("tracklet", "video"))
    if "path" in table.column_names:
        check_paths(table["path"], f"{manifest}, ")
    array = read_array(features)
    if len(array) != len(table):
        raise ValueError(
            f"{features} has {len(array)} rows, but {manifest} has {len(table)}; "
            f"row {min(len(array), len(table))} is the first without a partner"
        )
    mask = Path(features).with_suffix(".valid.npy")
    valid = read_array(mask) if mask.exists() else np.ones(len(array), dtype=bool)
    if valid.dtype != bool or valid.shape != (len(array),):
        raise ValueError(f"{mask}: expected bool ({len(array)},), got {valid.dtype} {valid.shape}")
    tracklets, videos = (table[name].to_numpy() for name in ("tracklet", "video"))
    return Inputs(array, tracklets, videos, table, valid)


def center_inputs(inputs: Inputs, manifest: str | Path, folder: Path) -> Inputs:
    """The same with features centered by camera, in a file of their own.

    Args:
        inputs: as `read_inputs` returns them.
        manifest: their file, whose column camid names the camera of each image, 0 or more.
        folder: where centered.npy is written, of the features' type; it is made.

    Raises:
        ValueError: the column is missing, or an image has no camera; the row is named.
    """
    cameras = read_table(manifest, ("camid",))["camid"].to_numpy()
    unknown = np.flatnonzero(cameras < 0)
    if len(unknown):
        raise ValueError(
            f"{manifest}: column 'camid', row {unknown[0]}: is {cameras[unknown[0]]}; centering needs the "
            f"camera of every image, 0 or more ({len(unknown)} such rows)"
        )
    folder.mkdir(parents=True, exist_ok=True)
    shape, kind = inputs.features.shape, inputs.features.dtype
    out = np.lib.format.open_memmap(folder / CENTERED, mode="w+", dtype=kind, shape=shape)
    center_by_camera(inputs.features, inputs.tracklets, cameras, valid=inputs.valid, out=out)
    return inputs._replace(features=out)


def check_paths(paths: pa.ChunkedArray | Sequence[str], where: str = "") -> None:
    """Refuse a path that is absolute or climbs out of its root.

    Args:
        paths: text [n].
        where: what the error starts with.

    Raises:
        ValueError: there is one, or one that is no text; the row is named.

    Example:
        >>> check_paths(["a/b.jpg", "../c.jpg"])
        Traceback (most recent call last):
        ValueError: row 1: path '../c.jpg' leaves the root; expected one relative to it (1 such rows)
    """
    try:
        texts = (paths if isinstance(paths, pa.ChunkedArray) else pa.array(paths)).cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise ValueError(f"{where}column 'path': expected text; {error}") from None
    bad = pc.fill_null(pc.match_substring_regex(texts, LEAVES_ROOT), True).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(bad)
    if len(rows):
        raise ValueError(
            f"{where}row {rows[0]}: path {texts[int(rows[0])].as_py()!r} leaves the root; "
            f"expected one relative to it ({len(rows)} such rows)"
        )


def read_array(path: str | Path) -> np.ndarray:
    """Map a NumPy file for reading.

    Raises:
        ValueError: no NumPy file, or one of objects or of several arrays.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # of any kind: NumPy parses damaged headers as they come
        raise ValueError(f"{path}: expected a NumPy file (*.npy) of numbers; {error}") from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise ValueError(f"{path}: expected one array (*.npy), got an archive (*.npz); use numpy.save")
    return array


def read_table(path: str | Path, integers: tuple[str, ...]) -> pa.Table:
    """Read a Parquet table that has some columns of integers.

    Raises:
        ValueError: no Parquet, a column missing, of another type, or with a row that holds nothing.
    """
    try:
        table = pq.read_table(path)
    except pa.ArrowException as error:
        raise ValueError(f"{path}: expected a table in Parquet; {error}") from None
    for name in integers:
        if name not in table.column_names:
            raise ValueError(f"{path}: column {name!r} is missing; it has {', '.join(table.column_names)}")
        column = table[name]
        if not pa.types.is_integer(column.type):
            raise ValueError(f"{path}: column {name!r} is {column.type}; expected integers, -1 for none")
        if column.null_count:
            row = int(np.flatnonzero(column.is_null().to_numpy())[0])
            raise ValueError(
                f"{path}: column {name!r}, row {row}: is empty; expected an integer, -1 for none"
            )
    return table


def read_pairs(source: str | None, option: str, inputs: Inputs) -> np.ndarray | None:
    """Pairs of tracklets that are never one person, or that are one.

    Args:
        source: *.npy, int [p 2], tracklet ids; or "simultaneous" for those that are seen at one time in one
            video, by the manifest's column frame; None for none.
        option: what the error calls it.
        inputs: what there is to denoise.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file of another kind, or a manifest without frames.
    """
    if source is None:
        return None
    if source != SIMULTANEOUS:
        return read_array(source)
    if "frame" not in inputs.table.column_names:
        raise ValueError(f"{option}={SIMULTANEOUS}: the manifest has no column 'frame' to tell the time by")
    frames = inputs.table["frame"].to_numpy()
    return simultaneous(inputs.tracklets, inputs.videos, frames)


def write_identities(path: str | Path, table: pa.Table, identity: np.ndarray) -> Path:
    """Write the manifest and the column identity, whole or not at all; the same bytes for the same rows."""
    if "identity" in table.column_names:
        table = table.drop_columns(["identity"])
    table = table.append_column("identity", pa.array(identity))
    return write_whole(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))


def write_json(path: str | Path, content: Mapping[str, Any]) -> Path:
    """Write JSON, whole or not at all."""
    return write_whole(path, lambda temporary: temporary.write_text(json.dumps(content, indent=2) + "\n"))
