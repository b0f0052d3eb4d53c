"""Files of unfinished work: written whole, and read again only by the same work."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

NOTE = "work.json"


def write_whole(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Have a file written under a temporary name, then rename it, so that nobody meets half a file.

    Content and name reach the disk (fsync of the file, rename, fsync of the folder).

    Args:
        path: the file; its folder is made.
        write: writes to the path it is given, which has the same suffix.

    Returns:
        The path.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_whole(f"{folder}/a/b.txt", lambda path: path.write_text("done")).read_text()
        'done'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return path


class Saved:
    """Named arrays of a piece of work, in a folder, or nowhere when there is none.

    Args:
        folder: of the work's own; None saves nothing.
        identity: what the work depends on; arrays of other work are removed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Saved(folder, "k").put("a", x=np.arange(2))
        ...     Saved(folder, "k").get("a")["x"].tolist(), Saved(folder, "other").get("a")
        ([0, 1], None)
    """

    def __init__(self, folder: str | Path | None, identity: str) -> None:
        self.folder = None if folder is None else Path(folder)
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        note = self.folder / NOTE
        if not note.exists() or json.loads(note.read_text()) != identity:
            self.clear()
            write_whole(note, lambda path: path.write_text(json.dumps(identity)))

    def get(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays saved under a name, or None."""
        if self.folder is None:
            return None
        try:
            with np.load(self.folder / f"{name}.npz", allow_pickle=False) as arrays:
                return dict(arrays)
        except (FileNotFoundError, BadZipFile, ValueError):
            return None

    def put(self, name: str, **arrays: np.ndarray) -> None:
        """Save arrays under a name, whole or not at all."""
        if self.folder is None:
            return

        def write(path: Path) -> None:
            with path.open("wb") as file:  # given a name, savez would add an ending
                np.savez(file, allow_pickle=False, **arrays)

        write_whole(self.folder / f"{name}.npz", write)

    def clear(self) -> None:
        """Remove what was saved; the folder stays."""
        if self.folder is not None:
            for file in [*self.folder.glob("*.npz"), *self.folder.glob(".*.tmp*"), self.folder / NOTE]:
                file.unlink(missing_ok=True)
