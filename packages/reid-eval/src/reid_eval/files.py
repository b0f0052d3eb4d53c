"""Features and manifest as the command line gets them: a NumPy file a side, and one Parquet table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from reid_eval.defaults import Mode

SPLITS = ("query", "gallery")
NEEDED = ("path", "pid", "split")

LEAVES_ROOT = r"^$|^/|\\|^[A-Za-z]:|(?:^|/)\.\.(?:/|$)"
"""A path that is absolute (POSIX or with a drive), or climbs with ".."."""


@dataclass(frozen=True, eq=False)
class Side:
    """Queries or gallery.

    Attributes:
        features: float [n d], on disk where it can stay there.
        table: the manifest's n rows, a tracklet's being its middle frame's; its index is 0 to n - 1.
        root: folder of the table's paths.
        valid: bool [n], False where a row holds no feature.
        items: int64 [n], equal where both sides have a row of one path.
    """

    features: np.ndarray
    table: pd.DataFrame
    root: Path
    valid: np.ndarray
    items: np.ndarray

    def picture(self, row: int) -> Path:
        """The file of a row's image, or of its tracklet's middle frame."""
        return self.root / self.table["path"].iat[row]

    def columns(self) -> dict[str, np.ndarray]:
        """What a protocol may read besides pid, as far as the manifest has it, and the item."""
        given = [name for name in ("camid", "tracklet", "clothes", "video") if name in self.table]
        columns = {"item": self.items, **{name: self.table[name].to_numpy(np.int64) for name in given}}
        if "platform" in self.table:
            columns["platform"] = self.table["platform"].to_numpy(object).astype(str)
        return columns


def read_sides(
    query: str | Path,
    gallery: str | Path,
    manifest: str | Path,
    mode: Mode = "image",
    root: str | Path | None = None,
    query_valid: str | Path | None = None,
    gallery_valid: str | Path | None = None,
) -> tuple[Side, Side]:
    """Read both sides and check that they fit together.

    Rows of features are in the order of the manifest's rows of that split; tracklets in the order of their
    ids. Beside q.npy may lie q.valid.npy, bool [n], which marks the rows that hold a feature (a picture that
    could not be read has none), and q.paths.txt with one line per row, by which the order is checked. A
    path that is in both splits (MARS' queries are in its gallery too) is one item: a query never meets
    itself.

    Args:
        query: *.npy, float [q d].
        gallery: *.npy, float [g d].
        manifest: Parquet with path, pid and split, and camid, tracklet, frame, clothes, platform as needed.
        mode: what a row of features is.
        root: folder of the manifest's paths; by default what its metadata say (`reid.root`), or its folder.
        query_valid: *.npy, bool [q], in place of q.valid.npy.
        gallery_valid: *.npy, bool [g], the same of the gallery.

    Returns:
        Query side and gallery side.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file of another kind, a missing column, other numbers of rows, another order, a path
            that leaves the root.
    """
    table, home = read_manifest(manifest)
    sides = []
    for split, path, mask in zip(SPLITS, (query, gallery), (query_valid, gallery_valid), strict=True):
        rows = table[table["split"] == split].reset_index(drop=True)
        if rows.empty:
            raise ValueError(
                f"{manifest}: no row has split {split!r}; there are {sorted(set(table['split']))}"
            )
        tracklets = mode == "video" or (mode == "mix" and split == "gallery")
        if tracklets:
            rows = _middle_frames(rows, str(manifest))
        where = f"{manifest}, split {split!r}"
        sides.append(_side(Path(path), rows, where, Path(root or home), tracklets, mask))
    items = pd.factorize(pd.concat([side.table["path"] for side in sides]))[0]
    count = len(sides[0].table)
    return replace(sides[0], items=items[:count]), replace(sides[1], items=items[count:])


def read_manifest(path: str | Path) -> tuple[pd.DataFrame, Path]:
    """A manifest's table and the folder that its paths are relative to.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no Parquet, a column missing, or one that should hold integers and doesn't.
    """
    try:
        arrow = pq.read_table(path)
    except pa.ArrowException as error:
        raise ValueError(f"{path}: expected a manifest in Parquet; {error}") from None
    table = arrow.to_pandas(ignore_metadata=True)
    missing = [name for name in NEEDED if name not in table]
    if missing:
        raise ValueError(f"{path}: column {missing[0]!r} is missing; expected at least {', '.join(NEEDED)}")
    for name in ("pid", "camid", "tracklet", "frame", "clothes", "video"):
        if name in table and table[name].dtype.kind not in "iu":
            raise ValueError(
                f"{path}: column {name!r} is {table[name].dtype}; expected integers, -1 for unknown"
            )
        if name in table and len(large := np.flatnonzero(table[name] > np.iinfo(np.int64).max)):
            value = table[name].iat[large[0]]
            raise ValueError(f"{path}: column {name!r}, row {large[0]} is {value}; expected a signed integer")
    saved = (arrow.schema.metadata or {}).get(b"reid.root", b"").decode()
    return table, Path(saved) if saved else Path(path).absolute().parent


def _side(
    path: Path, rows: pd.DataFrame, where: str, root: Path, tracklets: bool, mask: str | Path | None
) -> Side:
    features = _load(path)
    if features.ndim != 2 or features.dtype.kind != "f":
        raise ValueError(f"{path}: expected float [n d], got {features.dtype} of shape {features.shape}")
    if len(features) != len(rows):
        kind = "tracklets" if tracklets else "rows"
        raise ValueError(
            f"{path} has {len(features)} rows but {where} has {len(rows)} {kind}; is --mode right?"
        )
    _check_order(path, rows, where)
    bad = np.flatnonzero(rows["path"].str.contains(LEAVES_ROOT, regex=True))
    if len(bad):
        name = rows["path"].iloc[bad[0]]
        raise ValueError(f"{where}, row {bad[0]}: path {name!r} leaves the root; expected one below it")
    beside = path.with_name(f"{path.stem}.valid.npy")
    valid = np.ones(len(rows), dtype=bool)
    if mask is not None or beside.exists():
        file = Path(mask or beside)
        valid = _load(file)
        if valid.dtype != bool or valid.shape != (len(rows),):
            raise ValueError(f"{file}: expected bool [{len(rows)}], got {valid.dtype} of shape {valid.shape}")
    return Side(features, rows, root, valid, np.arange(len(rows)))


def _load(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # of any kind: NumPy parses damaged headers as they come
        raise ValueError(f"{path}: expected a NumPy file (.npy) of numbers; {error}") from None
    if not isinstance(array, np.ndarray):
        names = ", ".join(array.files)
        array.close()
        raise ValueError(
            f"{path}: expected one array in a NumPy file (.npy), got an archive (.npz) of "
            f"{names or 'nothing'}; write the array that you mean with numpy.save"
        )
    return array


def _check_order(path: Path, rows: pd.DataFrame, where: str) -> None:
    listed = path.with_name(f"{path.stem}.paths.txt")
    if not listed.exists():
        return
    names = listed.read_text(encoding="utf-8-sig").splitlines()
    if len(names) != len(rows):
        raise ValueError(f"{listed} has {len(names)} lines but {path.name} has {len(rows)} rows")
    for row, (name, expected) in enumerate(zip(names, rows["path"], strict=True)):
        if name != expected:
            raise ValueError(
                f"{path}: row {row} is of {name!r} ({listed.name}), but in {where} it is {expected!r}; "
                "features and manifest are in different order: sort one as the other"
            )


def _middle_frames(rows: pd.DataFrame, manifest: str) -> pd.DataFrame:
    """One row per tracklet, by ascending id: its middle frame's."""
    for name in ("tracklet", "frame"):
        if name not in rows:
            raise ValueError(f"{manifest}: column {name!r} is missing, which tracklets need")
    tracked = rows[rows["tracklet"] >= 0].sort_values(["tracklet", "frame"], kind="stable")
    sizes = tracked.groupby("tracklet")["tracklet"].transform("size")
    places = tracked.groupby("tracklet").cumcount()
    return tracked[places == sizes // 2].reset_index(drop=True)
