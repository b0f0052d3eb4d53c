"""What `prepare` leaves: a manifest file per source, and the names of its parts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reid_core.data.manifest import Manifest

PREPARE = "prepare"
ALL_ROWS = "*"


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


def saved_root(prepared: Path, source: str) -> Path | None:
    """The root that a source's manifest was read with; None where it has not been read yet.

    Args:
        prepared: folder of the stage `prepare`.
        source: its name.
    """
    file = manifest_file(prepared, source)
    if not file.exists():
        return None
    import pyarrow.parquet as pq

    saved = pq.read_schema(file).metadata.get(b"reid.root", b"").decode()  # the rows stay where they are
    return Path(saved) if saved else prepared


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
