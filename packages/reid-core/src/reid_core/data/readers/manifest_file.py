"""A manifest file: a table of images that a user wrote (CSV or Parquet), or that `Manifest.save` did."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv as arrow_csv

from reid_core.data.manifest import COLUMNS, INTEGERS, UNKNOWN, Manifest, ManifestError, saved_names
from reid_core.data.readers._files import ReaderError, require_file, require_utf8_text
from reid_core.data.readers._own_split import FRACTION, draw_split

REQUIRED = ("path", "pid", "camid")
MAY_BE_EMPTY = tuple(column for column in INTEGERS if column != "pid")
"""Integer columns in which an empty cell is UNKNOWN."""
DELIMITERS = (",", ";", "\t")
PANDAS_INDEX = "__index_level_"
"""How a column's name begins in which pandas saved a table's index."""
FIRST_ROW = 2
"""Number of the first row below a CSV file's header, as a spreadsheet counts."""


def read_manifest_file(
    file: str | Path, root: str | Path | None = None, fraction: float | None = None, seed: int | None = None
) -> Manifest:
    """Read a table of images: one row per image, with path, pid, camid, and any other column of a manifest.

    CSV is UTF-8, with or without a byte order mark, with a header, separated by commas, semicolons or tabs,
    quoted with " where need be. An empty cell is "unknown" (-1; platform ""), except in path, pid and split.
    A relative path is relative to `root`; an absolute one must lie below it.

    A table without the column split is divided. People (pid above 0) are ordered by a hash of seed and pid,
    and the first `fraction` of them, rounded, are for training. Of each test person and camera one image (or
    tracklet) is a query and the others are gallery, as in Market-1501. A camera's only image of a person is
    gallery, except that a person with two images or more has at least one query. Rows of pid -1 are
    unlabeled, and pid 0 is refused. Where all images are from one camera it becomes unknown (-1).

    The protocol that counts is reid_eval.PROTOCOLS["manifest"]: a gallery image of the query's person from
    the query's own camera is left out, and an image of unknown camera counts as from a camera of its own.

    Args:
        file: .csv or .tsv, or .parquet.
        root: folder of the images; by default the one that `Manifest.save` kept in a Parquet file, or else
            the file's folder.
        fraction: part of the people for training, from 0 to 1, of a table without split (0.5 by default).
        seed: of the division (0 by default).

    Returns:
        the manifest, in the table's order, named after the file ("my.csv") or as it was saved.

    Raises:
        FileNotFoundError: no such file.
        ManifestError: a bad table; the message names file, row and column. Rows of a CSV file are counted as
            a spreadsheet does, the header being row 1; rows of a Parquet file from 0.
        ReaderError: `fraction` or `seed` for a table with a split, a fraction that leaves no people on one
            side.
    """
    file = require_file(Path(file), "manifest", "a table with the columns path, pid and camid")
    if file.suffix.lower() == ".parquet":
        try:
            arrow = pq.read_table(file)
        except pa.ArrowException as error:
            raise ManifestError(f"{file}: can't be read as Parquet ({error})") from error
        saved = arrow.schema.metadata or {}
        arrow = arrow.drop_columns([name for name in arrow.column_names if name.startswith(PANDAS_INDEX)])
        table = _fill_empty(arrow).to_pandas(split_blocks=True, self_destruct=True, ignore_metadata=True)
        del arrow  # two copies of millions of rows are enough while they are validated
    else:
        saved, table = {}, _read_csv(file)
    _require_columns(file, table)
    folder = Path(root or saved.get(b"reid.root", b"").decode() or file.parent)
    name = saved.get(b"reid.name", b"").decode() or file.name
    names = saved_names(saved)
    try:
        table["path"] = _relative_paths(table["path"], folder)
        if "split" not in table:
            valid = Manifest(table.assign(split="unlabeled"), folder).table.drop(columns="split")
            valid.index = table.index
            table = draw_split(valid, FRACTION if fraction is None else fraction, seed or 0, str(file))
        elif fraction is not None or seed is not None:
            raise ReaderError(f"{file}: has the column split; fraction and seed are for tables without it")
        return Manifest(table, folder, name, names)
    except ManifestError as error:
        if error.row is None:
            raise ManifestError(f"{file}: {error}") from None
        row = table.index[error.row]
        raise ManifestError(f"{file}: row {row}, column {error.column!r}: {error.problem}") from None


def _require_columns(file: Path, table: pd.DataFrame) -> None:
    missing = [column for column in REQUIRED if column not in table]
    unknown = [str(column) for column in table if column not in COLUMNS]
    if missing or unknown or not table.columns.is_unique:
        others = ", ".join(column for column in COLUMNS if column not in REQUIRED)
        raise ManifestError(
            f"{file}: has the columns {', '.join(map(str, table.columns))} (missing: "
            f"{', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}); expected "
            f"{', '.join(REQUIRED)}, and any of {others}, each once"
        )
    if table.empty:
        raise ManifestError(f"{file}: holds no row; expected one row per image")


def _relative_paths(paths: pd.Series, root: Path) -> pd.Series:
    """Paths below the root, relative to it; ManifestError naming the first absolute one elsewhere."""
    if not isinstance(paths.dtype, pd.StringDtype):
        return paths  # the manifest refuses what is no text
    for folder in dict.fromkeys((root.absolute(), root.resolve())):
        paths = paths.str.removeprefix(f"{folder.as_posix().rstrip('/')}/")
    paths = paths.str.removeprefix("./")
    outside = paths.str.startswith("/").fillna(False).to_numpy(dtype=bool)
    if outside.any():
        row = int(outside.argmax())
        problem = f"got {paths.iloc[row]!r}, which is not below {root}; give the images' folder as root"
        raise ManifestError(problem, "path", row)
    return paths


def _fill_empty(arrow: pa.Table) -> pa.Table:
    """Missing integers as UNKNOWN, so that the others stay integers in pandas."""
    for position, name in enumerate(arrow.column_names):
        if name in MAY_BE_EMPTY and arrow.column(position).null_count:
            column = arrow.column(position)
            arrow = arrow.set_column(position, name, column.fill_null(pa.scalar(UNKNOWN).cast(column.type)))
    return arrow


def _read_csv(file: Path) -> pd.DataFrame:
    """All cells as text, indexed by their row in the file; rows without any content are left out."""
    require_utf8_text(file)
    with open(file, encoding="utf-8-sig", newline="") as opened:
        head = opened.readline()
    try:
        headers = [next(csv.reader([head], delimiter=delimiter), []) for delimiter in DELIMITERS]
    except csv.Error as error:
        raise ManifestError(f"{file}: can't read the header {head[:80]!r} ({error})") from error
    known = [sum(name.strip().lower() in COLUMNS for name in names) for names in headers]
    best = known.index(max(known))
    broken: list[str] = []

    def refuse(row: arrow_csv.InvalidRow) -> str:
        cells = f"{row.actual_columns} cells"
        broken.append(f"row {row.number}: has {cells} ({row.text[:80]!r}); expected {row.expected_columns}")
        return "error"

    try:
        arrow = arrow_csv.read_csv(
            file,
            read_options=arrow_csv.ReadOptions(use_threads=False),  # with threads, rows are not counted
            parse_options=arrow_csv.ParseOptions(
                delimiter=DELIMITERS[best],
                newlines_in_values=True,
                ignore_empty_lines=False,
                invalid_row_handler=refuse,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(headers[best], pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        if broken:
            raise ManifestError(f"{file}: {broken[0]}") from None
        raise ManifestError(f"{file}: can't be read as CSV ({error})") from error
    names = [name.strip().lower() for name in arrow.column_names]
    # Where a line is empty or broken, Arrow's names are not those of the head, and it chooses types itself.
    table = arrow.rename_columns(names).cast(pa.schema([(name, pa.string()) for name in names])).to_pandas()
    table.index = table.index + FIRST_ROW
    if not table.columns.is_unique:
        return table
    table = table[(table != "").any(axis=1)]
    for column in table.columns.difference(["path"]):
        table[column] = table[column].str.strip()
    for column in table.columns.intersection(MAY_BE_EMPTY):
        table[column] = table[column].replace("", str(UNKNOWN))
    return table
