"""The run folder's event log, and the thread that delivers it to a tracking server."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

from reid_core.files import OwnershipLost, check_guards
from reid_core.tracking.delivery import deliver, import_mlflow, sqlite_file
from reid_core.tracking.events import (
    JOURNAL_FILE,
    load_state,
    lock_log,
    log,
    read_events,
    redact,
    repair_log,
    save_state,
)

DELIVERY_SECONDS = 5.0
"""Pause between two deliveries."""
RETRY_SECONDS = 30.0
"""Pause before an unreachable server is tried again."""
LAST_TRY_SECONDS = 20.0
"""How long the end of a run waits for a server; a database on this machine is waited for."""


class Journal:
    """The run folder's event log and what has to be known of its past.

    Appending an event writes a line; everything that talks to a server is the sender's, a thread of its own.

    Args:
        folder: run folder.
        uri: MLflow tracking URI.
        enabled: False writes nothing (ranks other than 0).
    """

    def __init__(self, folder: Path, uri: str, enabled: bool) -> None:
        self.folder, self.uri, self.enabled = folder, uri, enabled
        self.started: list[str] = []
        self.running: set[str] = set()
        self.known_params: dict[str, dict[str, str]] = {}
        self.last_steps: dict[str, dict[str, int]] = {}
        self.noted: dict[tuple[str, str], set[str]] = {}
        self._lock = threading.Lock()
        if not enabled:
            return
        folder.mkdir(parents=True, exist_ok=True)
        repair_log(folder)
        for _, event in read_events(folder, 0):
            self._note(event)
        self._file = open(folder / JOURNAL_FILE, "a", encoding="utf-8")  # noqa: SIM115 - lives as long as the run
        with lock_log(folder):
            save_state(folder, {**load_state(folder), "last_uri": redact(uri)})
        self._sender = _Sender(folder, uri)
        self._sender.start()

    def begin(self, key: str, about: dict[str, str]) -> None:
        """Start or resume a run.

        Args:
            key: of the run.
            about: its name, and experiment or parent.
        """
        self.append(key, "resume" if key in self.started else "start", **about)

    def append(self, key: str, kind: str, **content: Any) -> None:
        """Write an event.

        Args:
            key: of the run that it is of.
            kind: start, resume, params, metrics, tags, artifact, input, model or end.
            content: of that kind.
        """
        event = {"run": key, "event": kind, "time": int(time.time() * 1000), **content}
        with self._lock:  # system metrics come from a thread of their own
            self._note(event)
            if self.enabled:
                check_guards()
                self._file.write(json.dumps(event) + "\n")
                self._file.flush()

    def note_once(self, key: str, kind: str, what: str) -> bool:
        """Whether a run has not been noted to have something yet; it is from then on.

        Args:
            key: of the run.
            kind: input or model.
            what: that tells it from others of its kind.
        """
        known = self.noted.setdefault((key, kind), set())
        return what not in known and not known.add(what)  # type: ignore[func-returns-value]

    def wait_until_imported(self) -> None:
        """Wait until MLflow is imported: a process forked in the middle of an import may hang in its own."""
        if self.enabled:
            self._sender.imported.wait()

    def finish(self) -> int:
        """Deliver what is left, once more, and stop the sender.

        Returns:
            Number of events that are still pending.
        """
        if not self.enabled:
            return 0
        self._file.close()
        return self._sender.finish()

    def _note(self, event: dict[str, Any]) -> None:
        key, kind = event["run"], event["event"]
        if kind in ("start", "resume"):
            self.running.add(key)
        elif kind == "end":
            self.running.discard(key)
        if kind == "start":
            self.started.append(key)
        elif kind == "params":
            self.known_params.setdefault(key, {}).update(event["values"])
        elif kind == "metrics":
            steps = self.last_steps.setdefault(key, {})
            steps |= dict.fromkeys(event["values"], event["step"])
        elif kind == "input":
            self.note_once(key, kind, f"{event['name']} {event['digest']} {event['context']}")
        elif kind == "model":
            self.note_once(key, kind, f"{event['path']} {event.get('registered') or ''}")


class _Sender(threading.Thread):
    """Delivers a log every few seconds; a server that is slow or gone costs the run nothing but delay."""

    def __init__(self, folder: Path, uri: str) -> None:
        super().__init__(name="tracking", daemon=True)
        self.folder, self.uri = folder, uri
        self.imported = threading.Event()
        self._ending = threading.Event()
        self._said: set[str] = set()

    def run(self) -> None:
        try:
            import_mlflow(self.uri)
        except Exception as error:  # told by the delivery that fails of it
            log.debug("no client for %s: %s", redact(self.uri), redact(str(error)))
        finally:
            self.imported.set()
        pause = 0.0
        while not self._ending.wait(pause):
            pause = DELIVERY_SECONDS if self._deliver() else RETRY_SECONDS
        self._deliver()

    def finish(self) -> int:
        """Have the log delivered for the last time, and wait for it; the number of events left."""
        self._ending.set()
        self.join(None if sqlite_file(self.uri) else LAST_TRY_SECONDS)
        sent = load_state(self.folder)["servers"].get(redact(self.uri), {}).get("sent", 0)
        return sum(1 for _ in read_events(self.folder, sent))

    def _deliver(self) -> bool:
        try:
            result = deliver(self.folder, self.uri)
        except (OSError, OwnershipLost) as error:  # the run folder's own disk
            self._say_once("disk", f"events of {self.folder} can't be delivered ({error})")
            return False
        if result.error:
            self._say_once(
                "down",
                f"tracking server {redact(self.uri)} can't be reached ({result.error}); the run goes on and "
                f"its events are kept in {self.folder / JOURNAL_FILE}",
            )
        if result.refused:
            self._say_once("refused", f"{redact(self.uri)} refused {result.refused} events of {self.folder}")
        return not result.error

    def _say_once(self, what: str, message: str) -> None:
        if what not in self._said:
            self._said.add(what)
            log.warning(message)
