"""The run folder's event log, and its delivery to a tracking server."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from reid_core.files import check_guards, write_atomically
from reid_core.tracking.delivery import deliver
from reid_core.tracking.events import JOURNAL_FILE, STATE_FILE, drop_torn_line, load_state, log, read_events

DELIVERY_SECONDS = 5.0
"""Longest time that a metric waits before it is sent in a batch."""
RETRY_SECONDS = 30.0
"""Pause before an unreachable server is tried again."""


class Journal:
    """The run folder's event log and what has to be known of its past."""

    def __init__(self, folder: Path, uri: str, enabled: bool) -> None:
        self.folder, self.uri, self.enabled = folder, uri, enabled
        self.started: list[str] = []
        self.running: set[str] = set()
        self.known_params: dict[str, dict[str, str]] = {}
        self.last_steps: dict[str, dict[str, int]] = {}
        self._last_delivery = time.monotonic()
        self._retry_at = 0.0
        self._said: set[str] = set()
        if not enabled:
            return
        folder.mkdir(parents=True, exist_ok=True)
        drop_torn_line(folder / JOURNAL_FILE)
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
            check_guards()
            self._file.write(json.dumps(event) + "\n")
            self._file.flush()

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
