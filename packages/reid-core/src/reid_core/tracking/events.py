"""The files of a run folder's event log: events as JSON lines, and what has been delivered where."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from filelock import FileLock

from reid_core.files import write_atomically

JOURNAL_FILE = "tracking.jsonl"
STATE_FILE = "tracking.json"
LOCK_FILE = ".tracking.lock"
PASSWORD = re.compile(r"(?<=://)([^:/@\s]*):[^@\s]*@")

log = logging.getLogger("reid_core.tracking.tracker")


def redact(text: str) -> str:
    """A URI, or a message that may hold one, without passwords.

    Args:
        text: any.

    Example:
        >>> redact("can't reach https://me:secret@mlflow.example/api")
        "can't reach https://me:***@mlflow.example/api"
    """
    return PASSWORD.sub(r"\1:***@", text)


def read_events(folder: Path, offset: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Events of a log from an offset on.

    Args:
        folder: run folder.
        offset: bytes to pass over.

    Yields:
        (offset behind the line, event). A last line without its end is still being written; blank lines
        stand where damaged ones stood.
    """
    path = folder / JOURNAL_FILE
    if not path.exists():
        return
    with open(path, "rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            if line.strip():
                yield offset, json.loads(line)


def repair_log(folder: Path) -> None:
    """Mend what a kill or a bad disk has left of a log, so that it can be appended to.

    A half-written last line is cut off. A line in the middle that is no event is blanked (offsets stay as
    they are), after the file has been copied aside under a name of its own.

    Args:
        folder: run folder.
    """
    path = folder / JOURNAL_FILE
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    lines = whole.splitlines(keepends=True)
    damaged = [number for number, line in enumerate(lines) if line.strip() and not _is_event(line)]
    if damaged:
        aside = _set_aside(path, content)
        log.warning("%s: %d lines are no events and are left out; see %s", path, len(damaged), aside)
        for number in damaged:
            lines[number] = b" " * (len(lines[number]) - 1) + b"\n"
    if damaged or len(whole) < len(content):
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_bytes(b"".join(lines))
        temporary.replace(path)


def load_state(folder: Path) -> dict[str, Any]:
    """What has been delivered where: "servers" by redacted URI, and the "last_uri".

    Args:
        folder: run folder.

    Returns:
        Nothing delivered where the file is missing; where it is damaged, too, and the file is set aside.
    """
    path = folder / STATE_FILE
    if not path.exists():
        return {"servers": {}}
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        state["servers"].keys()
        return dict(state)
    except (ValueError, KeyError, TypeError, AttributeError):
        aside = _set_aside(path, path.read_bytes())
        path.unlink()
        log.warning("%s is damaged and set aside as %s; its events are delivered again", path, aside)
        return {"servers": {}, "damaged": True}


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write what `load_state` reads.

    Args:
        folder: run folder.
        state: as `load_state` returns it.
    """
    write_atomically(folder / STATE_FILE, json.dumps(state, indent=2) + "\n")


def lock_log(folder: Path) -> AbstractContextManager[Any]:
    """Only one process delivers a log at a time: a run and a `sync` beside it would send twice.

    Args:
        folder: run folder.
    """
    return FileLock(folder / LOCK_FILE)


def _is_event(line: bytes) -> bool:
    try:
        event = json.loads(line)
        return {"run", "event", "time"} <= event.keys()
    except (ValueError, AttributeError):
        return False


def _set_aside(path: Path, content: bytes) -> Path:
    aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    aside.write_bytes(content)
    return aside
