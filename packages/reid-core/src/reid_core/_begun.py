"""Folders of work that can be cut off: what it was begun with, so that nothing else goes on in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reid_core.stage import write_atomically

BEGUN_FILE = "begun.json"


def claim(folder: Path, settings: dict[str, Any]) -> None:
    """Mark a folder as that of some work, or go on in it if it is that already.

    Unlike a `Stage`'s folder, this one was named by the user: nothing in it is removed.

    Args:
        folder: made where missing.
        settings: all that decides the result; JSON's types.

    Raises:
        ValueError: it was begun with other settings, or holds something else.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> claim(folder, {"margin": 0.1})
        >>> claim(folder, {"margin": 0.2})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: ...was begun with {"margin": 0.1}, not {"margin": 0.2}; name another folder, or remove it
    """
    file = folder / BEGUN_FILE
    now = json.dumps(settings)
    if file.exists():
        before = file.read_text().strip()
        if before != now:
            raise ValueError(
                f"{folder} was begun with {before}, not {now}; name another folder, or remove it"
            )
    elif folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise ValueError(f"{folder} holds files of something else; name another folder")
    else:
        write_atomically(file, f"{now}\n")
