"""Rows that stages leave: of the sources that `prepare` reads, and of tracked video; names of their parts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reid_core.data.manifest import Manifest

PREPARE = "prepare"
ALL_ROWS = "*"
CROPS_FOLDER = "crops"
"""What a stage makes of raw video, with its manifest, below its own folder."""


def part(source: str, split: str = ALL_ROWS) -> str:
    """Name of a part of what `prepare` yields.

    Args:
        source: name of a source.
        split: a split, or "*" for all its rows.

    Example:
        >>> part("data.image", "train")
        'data.image/train'
    """
    return f"{source}/{split}"


def manifest_file(prepared: Path, source: str) -> Path:
    """Where a source's manifest is kept.

    Args:
        prepared: folder of the stage `prepare`.
        source: its name.
    """
    return prepared / f"{source}.parquet"


def images_root(file: Path) -> Path:
    """Folder of the images of a manifest file for which no root is given, as the file itself says it now.

    What `prepare` saved when it read the file is not asked: since then all may have been copied elsewhere.

    Args:
        file: .parquet, which may hold its root; or .csv or .tsv.

    Returns:
        the root in the file, or else the file's folder.
    """
    if file.suffix.lower() != ".parquet":
        return file.parent
    import pyarrow.parquet as pq

    saved = (pq.read_schema(file).metadata or {}).get(b"reid.root", b"").decode()
    return Path(saved or file.parent)


def load_rows(prepared: Path, source: str, root: Path, splits: Iterable[str] = ()) -> Manifest:
    """Rows of a source, at the place where its images lie now.

    Args:
        prepared: folder of the stage `prepare`.
        source: its name.
        root: its folder.
        splits: those wanted; none for all rows.
    """
    from reid_core.data.manifest import Manifest

    saved = Manifest.load(manifest_file(prepared, source), root)
    return saved.select(*splits) if splits else saved


def load_tracked(folder: Path) -> Manifest:
    """Rows of the tracklets that a stage has cut out of raw video.

    Args:
        folder: of the stage.
    """
    from reid_core.data.manifest import Manifest

    return Manifest.load(folder / CROPS_FOLDER / "manifest.parquet")
