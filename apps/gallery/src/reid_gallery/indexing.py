"""Feature folders to a gallery, and into one that is there."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np

from reid_core.models import Features
from reid_core.progress import Progress
from reid_gallery.features import Made, open_features
from reid_gallery.gallery import (
    CHUNK_ROWS,
    GALLERY_FILE,
    Facts,
    Gallery,
    Source,
    empty_index,
    lock_gallery,
    replace_index,
)

EXACT_ROWS = 200_000
"""Readable rows up to which an index is exact: 400 MB at 512 numbers."""
TRAINING_ROWS_A_LIST = 40
"""Rows that k-means sees for each inverted list; faiss asks for 39 at least."""


def create_gallery(
    features: str | Path, folder: str | Path, exact: bool | None = None, seed: int = 0
) -> Gallery:
    """Make a gallery of one feature folder.

    Args:
        features: as `embed` writes it.
        folder: the gallery.
        exact: whether the index is exact; None decides by size.
        seed: of the rows that a compressed index is trained on.

    Raises:
        FileExistsError: there is a gallery already.
        ValueError: no readable row.
    """
    folder = Path(folder)
    if (folder / GALLERY_FILE).exists():
        raise FileExistsError(f"{folder} is a gallery already: add to it with --add, or name another folder")
    found, made = open_features(features)
    readable = np.flatnonzero(found.valid)
    if not len(readable):
        raise ValueError(f"{features} has no readable row")
    exact = len(readable) <= EXACT_ROWS if exact is None else exact
    training, lists = None, 0
    if not exact:
        lists = max(1, round(len(readable) ** 0.5))
        wanted = max(lists, 256) * TRAINING_ROWS_A_LIST  # 256: centroids of each quantiser
        drawn = np.random.default_rng(seed).permutation(len(readable))[:wanted]
        training = _rows(found, made, np.sort(readable[drawn]))
    index = empty_index(made, training, lists)
    facts = Facts(
        model=made.model,
        digest=made.digest,
        preprocessing=made.preprocessing,
        metric=made.metric,
        dim=made.dim,
        kind="exact" if exact else "ivfpq",
        index="",
        sources=(),
    )
    with lock_gallery(folder):
        _add(folder, facts, index, found, made, features)
    return Gallery(folder)


def add_to_gallery(features: str | Path, folder: str | Path) -> Gallery:
    """Add a feature folder to a gallery, without building its index anew.

    Args:
        features: as `embed` writes it, with the gallery's model.
        folder: the gallery.

    Raises:
        ValueError: it is of another model, or in the gallery already.
    """
    folder = Path(folder)
    found, made = open_features(features)
    with lock_gallery(folder):
        gallery = Gallery(folder)
        if made.digest != gallery.facts.digest:
            raise ValueError(
                f"{features} is of another model than {folder}: embed with {gallery.facts.model}"
            )
        there = [(folder / source.folder).resolve() for source, _ in gallery.sources]
        if Path(features).resolve() in there:
            raise ValueError(f"{features} is in {folder} already")
        _add(folder, gallery.facts, gallery.index, found, made, features)
    return Gallery(folder)


def _add(
    folder: Path, facts: Facts, index: faiss.Index, found: Features, made: Made, features: str | Path
) -> None:
    first = max((source.first + source.rows for source in facts.sources), default=0)
    readable = np.flatnonzero(found.valid)
    with Progress("index", len(readable)) as progress:
        for start in range(0, len(readable), CHUNK_ROWS):
            rows = readable[start : start + CHUNK_ROWS]
            index.add_with_ids(_rows(found, made, rows), rows + first)
            progress.update(start + len(rows))
    relative = Path(os.path.relpath(Path(features).resolve(), folder.resolve())).as_posix()
    source = Source(relative, first, len(found.rows))
    replace_index(folder, replace(facts, sources=(*facts.sources, source)), index)


def _rows(found: Features, made: Made, rows: np.ndarray) -> np.ndarray:
    """Some rows as the index takes them, of unit length under cosine."""
    array = np.array(found.array[rows], dtype=np.float32)
    if made.metric == "cosine":
        array /= np.maximum(np.linalg.norm(array, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return array
