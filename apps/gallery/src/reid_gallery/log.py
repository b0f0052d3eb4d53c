"""Who searched for whom and when, and what people decided: files of one JSON object per line."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reid_core.files import write_atomically

SEARCHES, DECISIONS = "searches.jsonl", "decisions.jsonl"


def append(file: Path, entries: Iterable[dict[str, Any]]) -> None:
    """Add entries, each with the time and the user; call it with the gallery locked.

    Args:
        file: SEARCHES or DECISIONS of a gallery.
        entries: what happened.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    lines = [json.dumps({"time": now, "user": _user(), **entry}) + "\n" for entry in entries]
    with open(file, "a", encoding="utf-8") as log:
        log.write("".join(lines))
        log.flush()
        os.fsync(log.fileno())


def read_log(file: Path) -> list[dict[str, Any]]:
    """All entries; a line that was cut off is left out.

    Args:
        file: that may be missing.
    """
    entries = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(entry, dict):
            entries.append(entry)
    return entries


def drop(file: Path, is_dropped: Callable[[dict[str, Any]], bool]) -> int:
    """Take entries out of a log; call it with the gallery locked.

    Args:
        file: that may be missing.
        is_dropped: whether an entry goes.

    Returns:
        How many went.
    """
    entries = read_log(file)
    kept = [entry for entry in entries if not is_dropped(entry)]
    if len(kept) < len(entries):
        write_atomically(file, "".join(json.dumps(entry) + "\n" for entry in kept))
    return len(entries) - len(kept)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"
