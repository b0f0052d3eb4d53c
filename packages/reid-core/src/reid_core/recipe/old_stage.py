"""Stages: the restartable steps of a recipe, from files to files in the run folder."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from reid_core.files import plain, write_atomically
from reid_core.processes import process_rank

DONE_FILE = "stage.json"
STARTED_FILE = "started.json"
POLL_SECONDS = 0.5


class StageError(RuntimeError):
    """A stage's folder can't be used as asked."""


def fingerprint(config: Any, inputs: Mapping[str, str], code: str) -> str:
    """SHA-256 over a stage's configuration, its inputs' digests and the code's version.

    Args:
        config: whatever `plain` takes; only what changes the stage's output belongs in it.
        inputs: name -> digest of each thing the stage reads.
        code: version of the code that does the work.

    Returns:
        64 hexadecimal digits, independent of the order of keys.

    Example:
        >>> fingerprint({"a": 1, "b": 2}, {}, "0.1") == fingerprint({"b": 2, "a": 1}, {}, "0.1")
        True
        >>> fingerprint({"a": 1}, {}, "0.1") == fingerprint({"a": 1}, {}, "0.2")
        False
    """
    text = json.dumps({"config": plain(config), "inputs": plain(inputs), "code": code}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class Stage:
    """One step of a recipe: `run_folder/name/`, skipped when done, resumed when killed.

    `stage.json`, written last and atomically, marks finished output and holds the fingerprint it was made
    under. Unfinished output of the same fingerprint is kept for the work to resume from; output of another
    fingerprint, finished or not, is cleared before the work starts.

    Under several processes (torchrun, Lightning's launcher) rank 0 owns the folder. The others wait for it;
    they enter the work themselves only where it is `collective`, as training is.

    Args:
        name: folder below the run folder, such as "pretrain" or "finetune/scratch".
        run_folder: `runs/EXPERIMENT/RUN`.
        config: the part of the configuration that decides this stage's output.
        inputs: name -> digest (a manifest's digest, the fingerprint of the stage read from).
        code: version of the code that does the work.
        force: do it again even where finished output of the same fingerprint is there.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     stage = Stage("count", Path(folder), config={"to": 3}, code="1")
        ...     stage.run(lambda output: {"total": sum(range(3))})
        ...     stage.done, Stage("count", Path(folder), config={"to": 4}, code="1").done
        {'total': 3}
        (True, False)
    """

    def __init__(
        self,
        name: str,
        run_folder: Path | str,
        config: Any,
        inputs: Mapping[str, str] | None = None,
        code: str = "",
        force: bool = False,
    ) -> None:
        self.name = name
        self.folder = Path(run_folder) / name
        self.force = force
        self.config = plain(config)
        self.inputs = dict(inputs or {})
        self.code = code
        self.fingerprint = fingerprint(self.config, self.inputs, code)

    @property
    def done(self) -> bool:
        """Whether finished output of this fingerprint lies in the folder."""
        return _read(self.folder / DONE_FILE).get("fingerprint") == self.fingerprint

    @property
    def resumable(self) -> bool:
        """Whether unfinished output of this fingerprint lies in the folder."""
        return not self.done and _read(self.folder / STARTED_FILE).get("fingerprint") == self.fingerprint

    @property
    def summary(self) -> dict[str, Any]:
        """What the finished work returned.

        Raises:
            StageError: when the stage has no finished output of this fingerprint.
        """
        if not self.done:
            raise StageError(f"stage {self.name} has no finished output in {self.folder}: run it first")
        return dict(_read(self.folder / DONE_FILE)["summary"])

    def run(self, work: Callable[[Path], dict[str, Any]], collective: bool = False) -> dict[str, Any]:
        """Do the work unless its output is there.

        Args:
            work: called with the stage's folder; returns a JSON-able summary. What it finds in the folder
                is its own, made under the same fingerprint before it was killed.
            collective: every process enters the work (distributed training), not rank 0 alone.

        Returns:
            The summary, of this call or of the one that finished.

        Raises:
            StageError: when the folder holds files that no stage has put there.
        """
        if self.done and not self.force:
            return self.summary
        if process_rank() > 0:
            if collective:
                _wait(lambda: self.resumable or (self.done and not self.force))
                work(self.folder)
            _wait(lambda: self.done)
            return self.summary
        self._open()
        started = time.monotonic()
        summary = plain(work(self.folder))
        record = {"stage": self.name, "fingerprint": self.fingerprint, "config": self.config}
        record |= {"inputs": self.inputs, "code": self.code}
        record |= {"seconds": round(time.monotonic() - started, 3), "summary": summary}
        write_atomically(self.folder / DONE_FILE, json.dumps(record, indent=2) + "\n")
        self.force = False
        return dict(summary)

    def _open(self) -> None:
        if self.folder.is_dir() and any(self.folder.iterdir()) and not (self.resumable and not self.force):
            if not ((self.folder / STARTED_FILE).exists() or (self.folder / DONE_FILE).exists()):
                raise StageError(
                    f"{self.folder} holds files but neither {STARTED_FILE} nor {DONE_FILE}: no stage made "
                    "it. Move it away or choose another run name"
                )
            # The mark of completion goes first: a kill in the middle of clearing must not leave a husk
            # that looks finished.
            (self.folder / DONE_FILE).unlink(missing_ok=True)
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / STARTED_FILE, json.dumps({"fingerprint": self.fingerprint}) + "\n")


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StageError(f"{path} is not JSON ({error}): delete it to redo the stage") from error


def _wait(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(POLL_SECONDS)
