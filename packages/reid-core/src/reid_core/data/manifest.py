"""The manifest: one validated table with one row per image; readers make it, all else takes it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reid_core.files import atomic

SPLITS = ("train", "query", "gallery", "unlabeled")
PLATFORM = r"[a-z0-9_-]+"
"""A platform's name: ground, aerial, wearable, ... The same one is written in one way."""
PLATFORM_RULE = "lower-case letters, digits, _ and -, such as ground, aerial or wearable"
PLATFORM_ALIASES = {"uav": "aerial"}
"""Other names of platforms, and the one that a manifest holds."""
INTEGERS = ("pid", "camid", "tracklet", "frame", "video", "clothes")
EXACT_FLOATS = 2.0**53
"""Integers up to here are exact in float64; a larger one among floats may have been another."""
UNKNOWN = -1
"""What an integer column holds where nothing is known (for pid: junk or unlabeled)."""
Names = Mapping[str, Mapping[int, str]]
COLUMNS = ("path", "pid", "camid", "split", "tracklet", "frame", "video", "platform", "clothes")

# A path leaves the root when it is absolute (POSIX or with a drive), or climbs with "..".
_BAD_PATH = r"^$|^/|\\|^[A-Za-z]:|(?:^|/)\.\.(?:/|$)"


class ManifestError(ValueError):
    """A table that can't be a manifest; the message names the column and the first bad row.

    Args:
        problem: what was given and what was expected.
        column: where, if in one column.
        row: the first bad row, from 0, if there is one.
    """

    def __init__(self, problem: str, column: str = "", row: int | None = None) -> None:
        super().__init__(problem if row is None else f"manifest column {column!r}, row {row}: {problem}")
        self.problem, self.column, self.row = problem, column, row


@dataclass(frozen=True, eq=False, repr=False)
class Manifest:
    """A validated, frozen table of images; one row per image.

    Columns: ``path`` (str, POSIX, relative to `root`), ``pid`` (int64; -1 junk or unlabeled, 0 a distractor
    in Market-1501's gallery), ``camid`` (int64; -1 unknown), ``split`` (train, query, gallery or unlabeled),
    ``tracklet`` (int64; -1 none; unique in the manifest), ``frame`` (int64; -1 unknown), ``video`` (int64; -1
    unknown), ``platform`` ("" unknown, "ground", "aerial" or another name in lower case; "uav" becomes
    "aerial"), ``clothes`` (int64; -1 unknown). Only ``path`` and ``split`` must be given; the others are
    filled with their "unknown". A path stands at most once in a split, and may stand in several; the rows of
    a tracklet share pid, camid and split.

    Args:
        table: the rows; its index is ignored. It is copied.
        root: folder that the paths are relative to; made absolute. It need not exist here.
        name: what the data set is called in reports.
        names: column -> number -> name, where people or cameras have names, such as {"pid": {1: "alice"}};
            `save` keeps it.

    Raises:
        ManifestError: a column is missing, unknown, or holds a bad value (the first bad row is named).

    >>> table = pd.DataFrame({"path": ["a/1.jpg", "a/2.jpg"], "split": "train", "pid": [7, 7]})
    >>> manifest = Manifest(table, Path("/data"), "toy")
    >>> manifest, manifest.pids.tolist(), manifest.camids.tolist()
    (Manifest('toy', 2 images, 1 identities, train=2), [7, 7], [-1, -1])
    """

    table: pd.DataFrame
    root: Path
    name: str = ""
    names: Names = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root).absolute())
        object.__setattr__(self, "table", _validate(self.table))

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        counts = self.table["split"].value_counts()
        splits = ", ".join(f"{split}={counts[split]}" for split in SPLITS if split in counts)
        identities = int((np.unique(self.pids) > 0).sum())
        return f"Manifest({self.name!r}, {len(self)} images, {identities} identities, {splits})"

    @property
    def pids(self) -> np.ndarray:
        """Person ids, int64 [n]; a read-only view."""
        return self._integers("pid")

    @property
    def camids(self) -> np.ndarray:
        """Camera ids, int64 [n]; a read-only view."""
        return self._integers("camid")

    @property
    def files(self) -> list[Path]:
        """Absolute paths of all rows. It makes a Path per row: for millions of rows, use `table["path"]`."""
        return [self.root / path for path in self.table["path"]]

    @property
    def digest(self) -> str:
        """sha256 of the rows in their order (64 hexadecimal digits); root and name don't enter it."""
        state = hashlib.sha256()
        for column in COLUMNS:
            state.update(column.encode() + b"\0")
            if column in INTEGERS:
                state.update(self._integers(column).astype("<i8").tobytes())
            else:
                state.update("\0".join(self.table[column].to_numpy(dtype=object)).encode())
        return state.hexdigest()

    def _integers(self, column: str) -> np.ndarray:
        values = self.table[column].to_numpy(dtype=np.int64, copy=False).view()
        values.flags.writeable = False
        return values

    def select(self, *splits: str) -> Manifest:
        """The rows of some splits, in their order.

        Args:
            splits: one or more of train, query, gallery, unlabeled.

        Raises:
            ValueError: an unknown split, or no row in those splits.
        """
        unknown = [split for split in splits if split not in SPLITS]
        if unknown or not splits:
            raise ValueError(
                f"select: got splits {list(splits)}; expected one or more of {', '.join(SPLITS)}"
            )
        chosen = self.where(self.table["split"].isin(splits).to_numpy(dtype=bool))
        if not len(chosen):
            there = ", ".join(self.table["split"].unique()) or "no rows at all"
            raise ValueError(f"manifest {self.name!r} has no row in {', '.join(splits)}; it has {there}")
        return chosen

    def where(self, mask: np.ndarray) -> Manifest:
        """The rows where a boolean mask [n] is true, in their order (none is allowed).

        >>> table = pd.DataFrame({"path": ["1.jpg", "2.jpg"], "split": "train", "pid": [1, 2]})
        >>> manifest = Manifest(table, Path("/data"))
        >>> manifest.where(manifest.pids == 2).table["path"].tolist()
        ['2.jpg']
        """
        mask = np.asarray(mask)
        if mask.dtype != bool or mask.shape != (len(self),):
            raise ValueError(f"where: got a mask of {mask.dtype} {mask.shape}; expected bool ({len(self)},)")
        return self._of(self.table[mask])

    def take(self, rows: np.ndarray | Sequence[int]) -> Manifest:
        """Some rows by number, in the order asked for.

        >>> table = pd.DataFrame({"path": ["1.jpg", "2.jpg", "3.jpg"], "split": "train"})
        >>> Manifest(table, Path("/data")).take([2, 0]).table["path"].tolist()
        ['3.jpg', '1.jpg']
        """
        return self._of(self.table.iloc[rows])

    def _of(self, table: pd.DataFrame) -> Manifest:
        chosen = object.__new__(Manifest)  # rows of a valid table are valid: no second check
        object.__setattr__(chosen, "table", table.reset_index(drop=True))
        object.__setattr__(chosen, "root", self.root)
        object.__setattr__(chosen, "name", self.name)
        object.__setattr__(chosen, "names", self.names)
        return chosen

    def tracklets(self) -> list[np.ndarray]:
        """Row positions (int64) of each tracklet in frame order, by tracklet id; other rows are left out.

        >>> table = pd.DataFrame(
        ...     {"path": list("abc"), "split": "train", "tracklet": [4, -1, 4], "frame": [2, -1, 1]}
        ... )
        >>> [rows.tolist() for rows in Manifest(table, Path("/data")).tracklets()]
        [[2, 0]]
        """
        rows = np.flatnonzero(self._integers("tracklet") >= 0)
        if not len(rows):
            return []
        tracklet, frame = self._integers("tracklet")[rows], self._integers("frame")[rows]
        order = np.lexsort((frame, tracklet))  # stable: frames without a number keep the table's order
        rows, tracklet = rows[order], tracklet[order]
        return np.split(rows, np.flatnonzero(np.diff(tracklet)) + 1)

    def save(self, path: str | Path) -> Path:
        """Write Parquet, with root, name and names in its metadata; whole or not at all.

        A root that is the file's own folder is left out, so that the two can be moved and copied together.

        Args:
            path: the file; its folder is made.

        Returns:
            the path.
        """
        path = Path(path)
        arrow = pa.Table.from_pandas(self.table, preserve_index=False)
        here = path.absolute().parent == self.root
        arrow = arrow.replace_schema_metadata(
            {
                **(arrow.schema.metadata or {}),
                **({} if here else {b"reid.root": str(self.root).encode()}),
                b"reid.name": self.name.encode(),
                b"reid.names": json.dumps(self.names).encode(),
            }
        )
        with atomic(path) as temporary:
            pq.write_table(arrow, temporary, compression="zstd")
        return path

    @classmethod
    def load(cls, path: str | Path, root: str | Path | None = None) -> Manifest:
        """Read what `save` wrote, and validate it.

        Args:
            path: the Parquet file.
            root: where the images lie on this machine; None for the saved root, or else the file's folder.

        Raises:
            FileNotFoundError: no such file.
            ManifestError: the table is no manifest.
        """
        try:
            arrow = pq.read_table(path)
        except pa.ArrowNotImplementedError as error:  # no ValueError, as other damage is
            raise ManifestError(f"{path} can't be read as Parquet ({error})") from error
        metadata = arrow.schema.metadata or {}
        saved = metadata.get(b"reid.root", b"").decode() or Path(path).parent
        table = arrow.to_pandas(split_blocks=True, self_destruct=True, ignore_metadata=True)
        del arrow  # two copies of 4.2 million rows are enough while they are validated
        return cls(
            table, Path(root or saved), metadata.get(b"reid.name", b"").decode(), saved_names(metadata)
        )


def saved_names(metadata: Mapping[bytes, bytes]) -> Names:
    """The names that `Manifest.save` kept in a Parquet file's metadata.

    >>> saved_names({b"reid.names": b'{"pid": {"1": "alice"}}'})
    {'pid': {1: 'alice'}}
    """
    kept = json.loads(metadata.get(b"reid.names", b"{}"))
    return {column: {int(number): name for number, name in named.items()} for column, named in kept.items()}


def _validate(table: pd.DataFrame) -> pd.DataFrame:
    """A table with exactly COLUMNS, in that order, each of its type; or ManifestError."""
    missing = [column for column in ("path", "split") if column not in table]
    unknown = [column for column in table if column not in COLUMNS]
    if missing or unknown:
        raise ManifestError(
            f"manifest columns: missing {missing}, unknown {unknown}; "
            f"expected path and split, and any of {', '.join(COLUMNS)}"
        )
    table = table.reset_index(drop=True)
    columns: dict[str, pd.Series] = {}
    for column in COLUMNS:
        if column in INTEGERS:
            columns[column] = pd.Series(_integers(table, column))
        else:
            columns[column] = _strings(table, column)
    paths = columns["path"]
    _refuse(
        paths,
        paths.str.contains(_BAD_PATH, regex=True),
        "path",
        "a non-empty POSIX path that stays under the root",
    )
    _refuse(columns["split"], ~columns["split"].isin(SPLITS), "split", f"one of {', '.join(SPLITS)}")
    columns["platform"] = columns["platform"].replace(PLATFORM_ALIASES)
    named = columns["platform"].str.fullmatch(f"(?:{PLATFORM})?")
    _refuse(columns["platform"], ~named, "platform", f"a name of {PLATFORM_RULE}, or nothing")
    valid = pd.DataFrame(columns, copy=False)
    # Most manifests have each path once, which Arrow sees at once; pandas would make a Python string a row.
    if pc.count_distinct(pa.array(paths)).as_py() < len(paths):
        again: np.ndarray = paths.duplicated(keep=False).to_numpy(dtype=bool, copy=True)
        again[again] = valid.loc[again, ["path", "split"]].duplicated().to_numpy()
        _refuse(paths, again, "path", "a path only once in a split")
    _check_tracklets(valid)
    return valid


def _refuse(values: pd.Series, bad: pd.Series | np.ndarray, column: str, expected: str) -> None:
    positions = np.flatnonzero(np.asarray(bad, dtype=bool))
    if len(positions):
        row = int(positions[0])
        given = values.iloc[row]
        given = given.item() if isinstance(given, np.generic) else given
        more = f" ({len(positions)} such rows)" if len(positions) > 1 else ""
        raise ManifestError(f"got {given!r}, expected {expected}{more}", column, row)


def _integers(table: pd.DataFrame, column: str) -> np.ndarray:
    if column not in table:
        return np.full(len(table), UNKNOWN, dtype=np.int64)
    values = table[column]
    numbers = pd.to_numeric(values, errors="coerce") if values.dtype.kind not in "iu" else values
    if pd.api.types.is_integer_dtype(numbers.dtype) and not numbers.hasnans:
        _refuse(values, numbers > np.iinfo(np.int64).max, column, "an integer of 64 bits")
    else:
        as_float = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
        _refuse(values, ~(np.isfinite(as_float) & (as_float == np.floor(as_float))), column, "an integer")
        _refuse(values, np.abs(as_float) > EXACT_FLOATS, column, "an integer of 64 bits")
    integers = numbers.to_numpy(dtype=np.int64)
    _refuse(values, integers < UNKNOWN, column, f"an integer of {UNKNOWN} or more")
    return integers.copy()


def _strings(table: pd.DataFrame, column: str) -> pd.Series:
    if column not in table or table.empty:  # an empty list gives pandas no type to go by
        return pd.Series("", index=table.index, dtype=pd.DataFrame({"x": ["x"]})["x"].dtype)
    values = table[column]
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(object)
    _refuse(values, values.isna(), column, "a str")
    if values.dtype == object:
        _refuse(values, [not isinstance(value, str) for value in values], column, "a str")
        values = values.infer_objects()
    elif not isinstance(values.dtype, pd.StringDtype):
        _refuse(values, np.ones(len(values), dtype=bool), column, "a str")
    return values.copy()


def _check_tracklets(table: pd.DataFrame) -> None:
    """Rows of one tracklet must share pid, camid and split: a tracklet is one person in one camera."""
    tracklet = table["tracklet"].to_numpy()
    rows = np.flatnonzero(tracklet >= 0)
    order = rows[np.argsort(tracklet[rows], kind="stable")]
    same = np.diff(tracklet[order]) == 0
    for column in ("pid", "camid", "split"):
        values = table[column].to_numpy() if column != "split" else pd.factorize(table["split"])[0]
        bad = np.flatnonzero(same & (np.diff(values[order]) != 0))
        if len(bad):
            first, second = order[bad[0]], order[bad[0] + 1]
            here, there = (table[column].tolist()[row] for row in (second, first))
            raise ManifestError(
                f"tracklet {tracklet[second]} has {column} {here!r} here and {there!r} at "
                f"{table['path'].iloc[first]!r}; expected one person, one camera and one split a tracklet "
                "(ids are unique in the manifest)",
                "tracklet",
                int(second),
            )
