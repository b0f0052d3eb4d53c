"""The files of a run folder's event log: events as JSON lines, and what has been delivered where."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

JOURNAL_FILE = "tracking.jsonl"


STATE_FILE = "tracking.json"


LOCK_FILE = ".tracking.lock"


log = logging.getLogger("reid_core.tracking.tracker")


def read_events(folder: Path, offset: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (offset behind the line, event); a last line without its end is still being written."""
    path = folder / JOURNAL_FILE
    if not path.exists():
        return
    with open(path, "rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            yield offset, json.loads(line)


def drop_torn_line(path: Path) -> None:
    """Cut off the half-written last line that a kill leaves behind."""
    if path.exists():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)


def load_state(folder: Path) -> dict[str, Any]:
    path = folder / STATE_FILE
    return json.loads(path.read_text()) if path.exists() else {"servers": {}}


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one process delivers a journal at a time: a run and a `sync` beside it would send twice."""
    with open(folder / LOCK_FILE, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
