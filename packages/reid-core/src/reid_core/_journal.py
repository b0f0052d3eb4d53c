"""The run folder's event log, and its delivery to a tracking server."""

from __future__ import annotations

import fcntl
import functools
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from reid_core.stage import write_atomically

JOURNAL_FILE = "tracking.jsonl"
STATE_FILE = "tracking.json"
LOCK_FILE = ".tracking.lock"
DELIVERY_SECONDS = 5.0
"""Longest time that a metric waits before it is sent in a batch."""
RETRY_SECONDS = 30.0
"""Pause before an unreachable server is tried again."""
PROBE_SECONDS = 2.0
"""How long an http server may take to say that it is there. MLflow's own retries take minutes."""
METRICS_PER_BATCH = 1000  # MLflow's limit for one log_batch call
PARAMS_PER_BATCH = 100  # the same, for parameters and tags
REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS", "INVALID_STATE")
"""MLflow error codes that a later attempt would meet again: the event is dropped, not retried."""

log = logging.getLogger("reid_core.tracking")


class Delivery(NamedTuple):
    """What came of sending a journal: events sent, left over, and refused for good; why it stopped."""

    sent: int
    pending: int
    refused: int
    error: str


class Journal:
    """The run folder's event log and what has to be known of its past."""

    def __init__(self, folder: Path, uri: str, enabled: bool) -> None:
        self.folder, self.uri, self.enabled = folder, uri, enabled
        self.started: list[str] = []
        self.known_params: dict[str, dict[str, str]] = {}
        self.last_steps: dict[str, dict[str, int]] = {}
        self._last_delivery = time.monotonic()
        self._retry_at = 0.0
        self._said: set[str] = set()
        if not enabled:
            return
        folder.mkdir(parents=True, exist_ok=True)
        _drop_torn_line(folder / JOURNAL_FILE)
        for _, event in read_events(folder, 0):
            self._note(event)
        self._file = open(folder / JOURNAL_FILE, "a", encoding="utf-8")  # noqa: SIM115 - lives as long as the run
        state = load_state(folder)
        write_atomically(folder / STATE_FILE, json.dumps({**state, "last_uri": uri}, indent=2))

    def begin(self, key: str, about: dict[str, str]) -> None:
        self.append(key, "resume" if key in self.started else "start", **about)

    def append(self, key: str, kind: str, **content: Any) -> None:
        event = {"run": key, "event": kind, "time": int(time.time() * 1000), **content}
        self._note(event)
        if self.enabled:
            self._file.write(json.dumps(event) + "\n")
            self._file.flush()

    def _note(self, event: dict[str, Any]) -> None:
        key, kind = event["run"], event["event"]
        if kind == "start":
            self.started.append(key)
        elif kind == "params":
            self.known_params.setdefault(key, {}).update(event["values"])
        elif kind == "metrics":
            steps = self.last_steps.setdefault(key, {})
            steps |= dict.fromkeys(event["values"], event["step"])

    def deliver_in_time(self) -> None:
        if time.monotonic() - self._last_delivery > DELIVERY_SECONDS:
            self.deliver()

    def deliver(self) -> None:
        if not self.enabled or time.monotonic() < self._retry_at:
            return
        result = deliver(self.folder, self.uri)
        self._last_delivery = time.monotonic()
        if result.error:
            self._retry_at = time.monotonic() + RETRY_SECONDS
            self._say_once(
                "down",
                f"tracking server {self.uri} can't be reached ({result.error}); the run goes on and its "
                f"events are kept in {self.folder / JOURNAL_FILE} until it is back or they are synced",
            )
        if result.refused:
            self._say_once(
                "refused", f"tracking server {self.uri} refused {result.refused} events of {self.folder}"
            )

    def _say_once(self, what: str, message: str) -> None:
        if what not in self._said:
            self._said.add(what)
            log.warning(message)


def deliver(folder: Path, uri: str) -> Delivery:
    from reid_core._mlflow import Unreachable, send

    with _locked(folder):
        state = load_state(folder)
        server = state["servers"].setdefault(uri, {"sent": 0, "runs": {}})

        def save() -> None:
            write_atomically(folder / STATE_FILE, json.dumps(state, indent=2))

        sent, refused, error = 0, 0, ""
        try:
            sent, refused = send(folder, uri, server, functools.partial(read_events, folder), save)
        except Unreachable as problem:
            error = str(problem)
        save()
        left = sum(1 for _ in read_events(folder, server["sent"]))
    return Delivery(sent, left, refused, error)


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


def _drop_torn_line(path: Path) -> None:
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
def _locked(folder: Path) -> Iterator[None]:
    """Only one process delivers a journal at a time: a run and a `sync` beside it would send twice."""
    with open(folder / LOCK_FILE, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
