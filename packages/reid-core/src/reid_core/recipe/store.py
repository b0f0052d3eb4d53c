"""Where stages keep their output: runs/stages/NAME-DIGEST, whichever run made it. Running removes nothing."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reid_core.files import plain, write_atomically
from reid_core.recipe.lease import is_alive, lock_file, owner

STAGES_FOLDER = "stages"
STARTED_FILE, DONE_FILE = "started.json", "stage.json"
POINTER = ".pointer"
"""Suffix of the text file that stands in for a link where links can't be made."""
DIGITS = 16
"""Of the digest in a folder's name: two of a billion stages share it with a chance of 3 %; the files tell."""


class StageError(RuntimeError):
    """A stage's folder can't be used as asked."""


def stage_folder(runs: Path, label: str, key: str) -> Path:
    """Where the output of a stage lies.

    Args:
        runs: folder of all runs.
        label: the stage's name, with the app's where it is its own.
        key: the stage's digest.

    Example:
        >>> stage_folder(Path("runs"), "vills-finetune/scratch", "0123456789abcdef" * 4).as_posix()
        'runs/stages/vills-finetune-scratch-0123456789abcdef'
    """
    return runs / STAGES_FOLDER / f"{label.replace('/', '-')}-{key[:DIGITS]}"


def record(folder: Path) -> dict[str, Any] | None:
    """What is known of a finished stage: digest, section, inputs, seconds, summary.

    Args:
        folder: a stage's folder, which may not exist.

    Returns:
        None where the stage is not finished.

    Raises:
        StageError: the record is damaged.
    """
    return _read(folder / DONE_FILE)


def begin(folder: Path, key: str, again: bool = False) -> bool:
    """Open a stage's folder for its work, under its lock.

    Args:
        folder: the stage's.
        key: its digest.
        again: set finished output aside (it is renamed, not removed) and begin anew.

    Returns:
        Whether an interrupted attempt is resumed.

    Raises:
        StageError: the folder holds files of something else.
    """
    if again and folder.exists():
        folder.rename(folder.with_name(f"{folder.name}.replaced-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"))
    started = _read(folder / STARTED_FILE)
    if started is not None and started["digest"] != key:
        raise StageError(f"{folder} was begun under another digest ({started['digest']}): move it away")
    if started is None and folder.is_dir() and any(folder.iterdir()):
        raise StageError(f"{folder} holds files but no {STARTED_FILE}: no stage made it; move it away")
    if started is None:
        write_atomically(folder / STARTED_FILE, json.dumps({"digest": key}) + "\n")
    return started is not None


def finish(folder: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """Mark a stage as finished; written last.

    Args:
        folder: the stage's.
        about: digest, section, inputs, seconds, summary and what else is to be known.

    Returns:
        The summary, as JSON keeps it.
    """
    content = {**plain(about), "finished": datetime.now(UTC).isoformat(timespec="seconds")}
    write_atomically(folder / DONE_FILE, json.dumps(content, indent=2) + "\n")
    return dict(content["summary"])


def link(run_folder: Path, name: str, folder: Path) -> None:
    """Have a run folder's entry of a stage's name lead to the stage's folder.

    Args:
        run_folder: runs/EXPERIMENT/NAME.
        name: of the stage.
        folder: the stage's, below the same `runs`.

    Raises:
        StageError: there is a folder of that name, which no link made here is.
    """
    place = run_folder / name
    if place.exists() and not place.is_symlink():
        raise StageError(f"{place} is no link to a stage: move it away, or choose another --name")
    place.parent.mkdir(parents=True, exist_ok=True)
    target = os.path.relpath(folder, place.parent)
    temporary = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        temporary.symlink_to(target, target_is_directory=True)
        temporary.replace(place)
    except OSError:  # a file system, or a Windows account, without links
        write_atomically(place.with_name(place.name + POINTER), Path(target).as_posix() + "\n")


def links(runs: Path) -> Iterator[tuple[Path, str, Path]]:
    """Every entry of every run folder that leads to a stage.

    Args:
        runs: folder of all runs.

    Yields:
        (run folder, the stage's name in it, the stage's folder).
    """
    for run_folder in sorted(path for path in runs.glob("*/*") if path.parent.name != STAGES_FOLDER):
        if run_folder.is_dir():
            for name, folder in run_links(run_folder):
                yield run_folder, name, folder


def run_links(run_folder: Path) -> Iterator[tuple[str, Path]]:
    """Every entry of a run folder that leads to a stage.

    Args:
        run_folder: runs/EXPERIMENT/NAME.

    Yields:
        (the stage's name in it, the stage's folder).
    """
    for place in sorted([*run_folder.glob("*"), *run_folder.glob("*/*")]):
        if place.is_symlink():
            target = place.parent / os.readlink(place)
        elif place.suffix == POINTER and place.is_file():
            target = place.parent / place.read_text().strip()
        else:
            continue
        name = place.relative_to(run_folder).as_posix().removesuffix(POINTER)
        yield name, Path(os.path.normpath(target))


@dataclass(frozen=True)
class Entry:
    """A stage's folder as `status` shows it.

    Attributes:
        folder: the stage's.
        state: "done", "unfinished", "running" or "replaced".
        owner: who writes it, in words; empty where nobody does.
        bytes: size of its files.
        seconds: that the work took; None where it is not finished.
        finished: when, ISO 8601 in UTC; None where it is not finished.
        runs: run folders that refer to it, as EXPERIMENT/NAME.
    """

    folder: Path
    state: str
    owner: str
    bytes: int
    seconds: float | None
    finished: str | None
    runs: list[str]


def entries(runs: Path) -> list[Entry]:
    """Every stage's folder; no lock is taken.

    Args:
        runs: folder of all runs.
    """
    users: dict[Path, list[str]] = {}
    for run_folder, _, folder in links(runs):
        users.setdefault(folder.absolute(), []).append(run_folder.relative_to(runs).as_posix())
    found = []
    for folder in sorted(path for path in (runs / STAGES_FOLDER).glob("*") if path.is_dir()):
        done, who = record(folder), owner(folder)
        living = who is not None and is_alive(who) is not False
        state = "running" if living else "done" if done else "unfinished"
        found.append(
            Entry(
                folder,
                "replaced" if ".replaced-" in folder.name else state,
                f"{who.pid} on {who.hostname.partition('?')[0]}" if living and who else "",
                sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
                done["seconds"] if done else None,
                done["finished"] if done else None,
                users.get(folder.absolute(), []),
            )
        )
    return found


def remove(entry: Entry) -> None:
    """Remove a stage's folder: under another name first, so that a kill leaves nothing that looks whole.

    Args:
        entry: of a stage that no run refers to and nobody writes.
    """
    doomed = entry.folder.with_name(f".{entry.folder.name}.removed-{time.time_ns()}")
    entry.folder.rename(doomed)
    shutil.rmtree(doomed)
    if owner(entry.folder) is None or is_alive(owner(entry.folder)) is False:  # type: ignore[arg-type]
        lock_file(entry.folder).unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise StageError(f"{path} is damaged ({error}): move {path.parent} away to redo the stage") from error
