"""A person leaves a gallery and its feature folders, and nothing is built anew."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import faiss
import numpy as np
from numpy.lib.format import open_memmap

from reid_core.data.manifest import UNKNOWN, Manifest
from reid_core.files import atomic
from reid_core.models import Features, valid_path
from reid_gallery.features import FEATURES_FILE, FORGOTTEN, ROWS_FILE
from reid_gallery.gallery import Gallery, Source, lock_gallery, person_label, replace_index
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


def forget_people(folder: str | Path, people: Sequence[str]) -> Gone:
    """Take people out of a gallery.

    Index, thumbnails, pages and logs come first and the rows last, for those say what is whose: after
    a cut at any point the same call resumes.

    Args:
        folder: the gallery.
        people: names, or pids where there are no names.

    Raises:
        ValueError: a person is not there; nobody is forgotten.
    """
    folder = Path(folder)
    with lock_gallery(folder):
        gallery = Gallery(folder)
        for person in people:
            if not gallery.has_person(person):
                raise ValueError(
                    f"{folder} has no person {person!r}; give a name or pid as `search` prints it"
                )
        rows = {source: _rows_of(features, set(people)) for source, features in gallery.sources}
        files = {
            str(features.rows.root / features.rows.table["path"].iat[row])
            for source, features in gallery.sources
            for row in rows[source]
        }
        numbers = np.concatenate([some + source.first for source, some in rows.items()])
        decided = read_log(folder / DECISIONS)
        files |= {
            entry["query"]
            for entry in decided
            if entry.get("person") in people and entry.get("decision") == "same"
        }
        removed = gallery.index.remove_ids(faiss.IDSelectorBatch(numbers))
        replace_index(folder, gallery.facts, gallery.index)
        counts = {"index rows": int(removed)}
        counts["thumbnails"] = sum(_unlink(thumbnail_file(folder, int(number))) for number in numbers)
        counts["pages"] = _remove_pages(folder, people, files)
        for name in (SEARCHES, DECISIONS):
            counts[Path(name).stem] = drop(
                folder / name, lambda entry: entry.get("query") in files or entry.get("person") in people
            )
        for source, features in gallery.sources:
            if len(rows[source]):
                _erase(folder / source.folder, source, features, rows[source])
        counts["features"] = len(numbers)
        return Gone(counts, min(files))


def _rows_of(features: Features, people: set[str]) -> np.ndarray:
    """Numbers of people's rows, readable or not."""
    pids = [pid for pid in np.unique(features.rows.pids).tolist() if person_label(features, pid) in people]
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


def _remove_pages(folder: Path, people: Sequence[str], files: set[str]) -> int:
    """Remove the pages that searches wrote and that show one of the people, wherever they lie."""
    marks = [f'data-person="{html.escape(person)}"' for person in people]
    marks += [f'data-file="{html.escape(file)}"' for file in files]
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
