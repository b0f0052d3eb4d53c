"""Progress of long work: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

BAR_INTERVAL = 0.2
"""Seconds between two updates of the bar, so that short steps are not slowed by drawing."""
LINE_INTERVAL = 10.0
"""Seconds after which a log file gets another line."""
LINE_FRACTION = 0.1
"""Part of the whole work after which a log file gets another line."""


class Progress:
    """Progress with a message and the time left, for terminals and for log files.

    Args:
        label: what is being done.
        total: number of things to do.
        done: number of things already done when this work began.
        enabled: False shows nothing (ranks other than 0).

    Example:
        >>> with Progress("features", total=2, enabled=False) as progress:
        ...     progress.update(1, "first block")
    """

    def __init__(self, label: str, total: int, done: int = 0, enabled: bool = True) -> None:
        self.label, self.total, self.first, self.enabled = label, total, done, enabled
        self.began = self.shown_at = time.monotonic()
        self.shown = done
        self._bar: RichProgress | None = None
        if enabled and sys.stderr.isatty():
            self._bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[message]}"),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(label, total=total, completed=done, message="")

    def due(self, done: int) -> bool:
        """Whether `update(done)` would show anything, so that costly messages are made only then.

        Args:
            done: number of things done.

        Returns:
            True when it is time to show progress again, or all is done.
        """
        if not self.enabled:
            return False
        if done >= self.total:
            return self.shown < self.total
        waited = time.monotonic() - self.shown_at
        if self._bar is not None:
            return waited >= BAR_INTERVAL
        return waited >= LINE_INTERVAL or done - self.shown >= LINE_FRACTION * self.total

    def update(self, done: int, message: str = "") -> None:
        """Show that `done` things are done, if it is time to.

        Args:
            done: number of things done.
            message: what else to show, such as the loss.
        """
        if not self.due(done):
            return
        now = time.monotonic()
        self.shown, self.shown_at = done, now
        if self._bar is not None:
            self._bar.update(self._task, completed=done, message=message)
            return
        rate = max(1, done - self.first) / max(1e-9, now - self.began)
        line = (
            f"{self.label}: {done}/{self.total} ({done / max(1, self.total):.0%}), {rate:.3g}/s, "
            f"{(self.total - done) / rate:.0f} s left"
        )
        print(f"{line}, {message}" if message else line, file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
