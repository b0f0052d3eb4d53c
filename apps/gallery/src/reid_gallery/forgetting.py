"""A person leaves a gallery and its feature folders, and nothing is built anew."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import faiss
import numpy as np
from numpy.lib.format import open_memmap

from reid_core.data.manifest import UNKNOWN, Manifest
from reid_core.files import atomic
from reid_core.models import Features, valid_path
from reid_gallery.features import FEATURES_FILE, FORGOTTEN, ROWS_FILE
from reid_gallery.gallery import Gallery, Source, locked, person_label, replace_index
from reid_gallery.log import DECISIONS, SEARCHES, drop, read_log
from reid_gallery.page import GENERATOR, thumbnail_file


class Gone(NamedTuple):
    """What was forgotten.

    Attributes:
        counts: what -> how many.
        example: a file of the person, which is still there.
    """

    counts: Mapping[str, int]
    example: str


def forget_person(folder: str | Path, person: str) -> Gone:
    """Take a person out of a gallery.

    Index, thumbnails, pages and logs come first and the rows last, for those say what is the person's: after
    a cut at any point the same call resumes.

    Args:
        folder: the gallery.
        person: name, or pid where there are no names.

    Raises:
        ValueError: there is no such person.
    """
    folder = Path(folder)
    with locked(folder):
        gallery = Gallery(folder)
        rows = {source: _rows_of(features, person) for source, features in gallery.sources}
        files = {
            str(features.rows.root / features.rows.table["path"].iat[row])
            for source, features in gallery.sources
            for row in rows[source]
        }
        if not files:
            raise ValueError(f"{folder} has no person {person!r}; give a name or pid as `search` prints it")
        numbers = np.concatenate([some + source.first for source, some in rows.items()])
        decided = read_log(folder / DECISIONS)
        files |= {
            entry["query"]
            for entry in decided
            if entry.get("person") == person and entry.get("decision") == "same"
        }
        removed = gallery.index.remove_ids(faiss.IDSelectorBatch(numbers))
        replace_index(folder, gallery.facts, gallery.index)
        counts = {"index rows": int(removed)}
        counts["thumbnails"] = sum(_unlink(thumbnail_file(folder, int(number))) for number in numbers)
        counts["pages"] = _remove_pages(folder, person, files)
        for file, name in ((SEARCHES, "searches"), (DECISIONS, "decisions")):
            counts[name] = drop(
                folder / file, lambda entry: entry.get("query") in files or entry.get("person") == person
            )
        for source, features in gallery.sources:
            if len(rows[source]):
                _erase(folder / source.folder, source, features, rows[source])
        counts["features"] = len(numbers)
        return Gone(counts, min(files))


def _rows_of(features: Features, person: str) -> np.ndarray:
    """Numbers of a person's rows, readable or not."""
    pids = [pid for pid in np.unique(features.rows.pids).tolist() if person_label(features, pid) == person]
    return np.flatnonzero(np.isin(features.rows.pids, pids))


def _erase(folder: Path, source: Source, features: Features, rows: np.ndarray) -> None:
    """Features to zeros and not valid, then rows to placeholders: their numbers stay those of the index."""
    array = open_memmap(folder / FEATURES_FILE, mode="r+")
    array[rows] = 0
    array.flush()
    valid = features.valid.copy()
    valid[rows] = False
    with atomic(folder / valid_path(FEATURES_FILE)) as temporary:
        np.save(temporary, valid)
    table = features.rows.table.copy()
    gone = {int(pid) for pid in features.rows.pids[rows]}
    table.loc[rows, ["pid", "camid", "tracklet", "frame", "video", "clothes"]] = UNKNOWN
    table.loc[rows, "platform"] = ""
    table.loc[rows, "path"] = [FORGOTTEN.format(row) for row in rows]
    names = {
        column: {number: name for number, name in named.items() if column != "pid" or number not in gone}
        for column, named in features.rows.names.items()
    }
    Manifest(table, features.rows.root, features.rows.name, names).save(folder / ROWS_FILE)


def _remove_pages(folder: Path, person: str, files: set[str]) -> int:
    """Remove the pages that searches wrote and that show the person, wherever they lie."""
    marks = [f'data-person="{html.escape(person)}"', *(f'data-file="{html.escape(file)}"' for file in files)]
    pages = {entry["page"] for entry in read_log(folder / SEARCHES) if isinstance(entry.get("page"), str)}
    count = 0
    for page in map(Path, sorted(pages)):
        if page.is_file():
            text = page.read_text(encoding="utf-8", errors="replace")
            if GENERATOR in text and any(mark in text for mark in marks):
                count += _unlink(page)
    return count


def _unlink(file: Path) -> int:
    there = file.exists()
    file.unlink(missing_ok=True)
    return int(there)
