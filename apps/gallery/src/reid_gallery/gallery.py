"""A gallery: feature folders behind one faiss index, which is searched, added to, and forgets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from filelock import FileLock

from reid_core.files import atomic, write_atomically
from reid_core.models import Features
from reid_gallery.features import Made, open_features

GALLERY_FILE, LOCK_FILE = "gallery.json", ".lock"
FORMAT_VERSION = 1
CHUNK_ROWS = 65536
"""Rows that are added at a time."""
CANDIDATES = 40
"""A compressed index is asked for so many times the answers, which are then scored exactly."""
ITERATIONS = 10
"""Of k-means in each quantiser; faiss takes 25, for candidates that are not scored again."""
PROBES = 32
"""Inverted lists that are searched for a query."""


@dataclass(frozen=True)
class Source:
    """A feature folder of a gallery.

    Attributes:
        folder: relative to the gallery's own, so that both can be moved together.
        first: number in the index of the folder's first row.
        rows: how many rows it has.
    """

    folder: str
    first: int
    rows: int


@dataclass(frozen=True)
class Facts:
    """What gallery.json holds.

    Attributes:
        model, digest, preprocessing, metric, dim: of the features, as `Made` has them.
        kind: "exact", or "ivfpq" for rows compressed by product quantisation in inverted lists.
        index: name of the index file.
        sources: the feature folders.
    """

    model: str
    digest: str
    preprocessing: dict[str, Any]
    metric: str
    dim: int
    kind: str
    index: str
    sources: tuple[Source, ...]
    format_version: int = field(default=FORMAT_VERSION)

    @classmethod
    def read(cls, folder: Path) -> Facts:
        """Read a gallery's facts.

        Args:
            folder: the gallery.

        Raises:
            FileNotFoundError: it is none.
            ValueError: its file is damaged.
        """
        file = folder / GALLERY_FILE
        if not file.is_file():
            raise FileNotFoundError(
                f"{folder} is no gallery: it has no {GALLERY_FILE}; run `reid-gallery index`"
            )
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            if found["format_version"] != FORMAT_VERSION:
                raise ValueError(f"format_version {found['format_version']!r}; expected {FORMAT_VERSION}")
            found["sources"] = tuple(Source(**one) for one in found["sources"])
            facts = cls(**found)
            if Path(facts.index).name != facts.index:
                raise ValueError(f"index {facts.index!r} is no file name")
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{file} is damaged ({error}): index again") from error
        return facts

    def write(self, folder: Path) -> None:
        """Write them, whole or not at all.

        Args:
            folder: the gallery.
        """
        write_atomically(folder / GALLERY_FILE, json.dumps(asdict(self), indent=1) + "\n")


@contextmanager
def lock_gallery(folder: Path) -> Iterator[None]:
    """Whoever changes a gallery, or its logs, is alone in it; others wait.

    Args:
        folder: the gallery.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCK_FILE):
        yield


class Gallery:
    """A gallery that is searched.

    Args:
        folder: as `reid-gallery index` writes it.

    Raises:
        FileNotFoundError: the gallery or one of its feature folders is missing.
        ValueError: a file is damaged, or a feature folder has changed.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.facts = Facts.read(self.folder)
        try:
            self.index = faiss.read_index(str(self.folder / self.facts.index))
        except RuntimeError as error:
            raise ValueError(f"{self.folder / self.facts.index} is no whole index: index again") from error
        if self.facts.kind != "exact":
            faiss.extract_index_ivf(self.index).nprobe = PROBES

    @cached_property
    def sources(self) -> list[tuple[Source, Features]]:
        """The feature folders, opened."""
        found = []
        for source in self.facts.sources:
            place = (self.folder / source.folder).resolve()
            if not place.is_dir():
                raise FileNotFoundError(
                    f"{place} is gone, which has features of {self.folder}: "
                    f"{GALLERY_FILE} names it {source.folder!r}, seen from the gallery. Move it there again, "
                    "or gallery and features together; or embed and index again"
                )
            features, made = open_features(self.folder / source.folder)
            if made.digest != self.facts.digest or len(features.rows) != source.rows:
                raise ValueError(
                    f"{self.folder / source.folder} has changed since it was indexed: index again"
                )
            found.append((source, features))
        return found

    @property
    def size(self) -> int:
        """Rows that can be found."""
        return int(self.index.ntotal)

    @cached_property
    def _labels(self) -> set[str]:
        return {label for _, features in self.sources for label in _labels(features)}

    @property
    def people(self) -> int:
        """How many people are known in it, or its rows where nobody is."""
        return len(self._labels) or self.size

    def has_person(self, person: str) -> bool:
        """Whether a person is in it.

        Args:
            person: name, or pid where there are no names.
        """
        return person in self._labels

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The nearest rows of each query.

        Args:
            queries: float32 [q d], of the gallery's model.
            k: rows per query.

        Returns:
            Numbers int64 [q k], -1 where there are no more, and scores float32 [q k]: cosines, or negative
            squared distances, exact ones in either kind of index.
        """
        if self.facts.kind == "exact":
            values, numbers = self.index.search(queries, min(k, max(1, self.size)))
            return numbers, values if self.facts.metric == "cosine" else -values
        _, candidates = self.index.search(queries, CANDIDATES * k)
        scores = np.full(candidates.shape, -np.inf, dtype=np.float32)
        for row, (query, numbers) in enumerate(zip(queries, candidates, strict=True)):
            there = numbers >= 0
            rows = self.vectors(numbers[there])
            if self.facts.metric == "cosine":
                scores[row, there] = rows @ query
            else:
                scores[row, there] = -((rows - query) ** 2).sum(axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(candidates, order, axis=1), np.take_along_axis(scores, order, axis=1)

    def vectors(self, numbers: np.ndarray) -> np.ndarray:
        """Features by their numbers in the index, float32 [n d].

        Args:
            numbers: int64 [n].
        """
        found = np.empty((len(numbers), self.facts.dim), dtype=np.float32)
        for source, features in self.sources:
            here = (numbers >= source.first) & (numbers < source.first + source.rows)
            found[here] = features.array[numbers[here] - source.first]
        return found

    def row(self, number: int) -> dict[str, Any]:
        """What is known of a row: file, path, person and camera.

        Args:
            number: in the index.
        """
        for source, features in self.sources:
            if source.first <= number < source.first + source.rows:
                rows, place = features.rows, number - source.first
                path = rows.table["path"].iat[place]
                return {
                    "number": number,
                    "file": str(rows.root / path),
                    "path": path,
                    "person": person_label(features, int(rows.pids[place])),
                    "camid": int(rows.camids[place]),
                }
        raise ValueError(f"row {number} is in no feature folder of {self.folder}: index again")


def person_label(features: Features, pid: int) -> str | None:
    """What a person is called: the name where there is one, else the number; None for junk and distractors.

    Args:
        features: of a feature folder.
        pid: the person.
    """
    if pid < 1:
        return None
    return features.rows.names.get("pid", {}).get(pid, str(pid))


def _labels(features: Features) -> set[str]:
    pids = np.unique(features.rows.pids)  # of unreadable rows too: those can be forgotten
    return {label for pid in pids.tolist() if (label := person_label(features, pid)) is not None}


def empty_index(made: Made, training: np.ndarray | None, lists: int) -> faiss.Index:
    """An index without rows.

    Args:
        made: how the features were made.
        training: rows to train inverted lists and quantisers on, float32 [n d]; None for an exact index.
        lists: number of inverted lists.
    """
    metric = faiss.METRIC_INNER_PRODUCT if made.metric == "cosine" else faiss.METRIC_L2
    if training is None:
        return faiss.IndexIDMap2(faiss.IndexFlat(made.dim, metric))
    index: Any = faiss.index_factory(made.dim, f"IVF{lists},PQ{codes_of(made.dim)}np", metric)
    index.pq.cp.niter = ITERATIONS
    index.train(training)
    return index


def codes_of(dim: int) -> int:
    """Bytes that a compressed row takes: one for every 16 numbers, or the most that divide them evenly.

    Args:
        dim: length of a feature.

    Example:
        >>> codes_of(512), codes_of(90)
        (32, 5)
    """
    return max(codes for codes in range(1, max(1, dim // 16) + 1) if dim % codes == 0)


def replace_index(folder: Path, facts: Facts, index: faiss.Index) -> Facts:
    """Put a new index file in the place of a gallery's own; killed in between, the gallery is the old one.

    Args:
        folder: the gallery.
        facts: what it is to hold; the name of the index file is set here.
        index: to be written.
    """
    number = int(facts.index.split("-")[1].split(".")[0]) + 1 if facts.index else 0
    name = f"index-{number}.faiss"
    with atomic(folder / name) as temporary:
        faiss.write_index(index, str(temporary))
    new = replace(facts, index=name)
    new.write(folder)
    for old in folder.glob("index-*.faiss"):
        if old.name != name:
            old.unlink(missing_ok=True)
    return new
