"""Progress with its rate and the time left: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

LINE_INTERVAL = 10.0
"""Seconds between two lines of a log."""


class Progress:
    """Progress over images, on standard error.

    Args:
        label: what is being done.
        total: number of images.
        done: number of images done before.

    Example:
        >>> with Progress("extract", total=2) as progress:
        ...     progress.add(1)
    """

    def __init__(self, label: str, total: int, done: int = 0) -> None:
        self.label, self.total, self.done, self.first = label, total, done, done
        self.began = self.shown = time.monotonic()
        self._bar: Bar | None = None
        if sys.stderr.isatty():
            columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
            rate = TextColumn("{task.fields[rate]:.0f} images/s")
            self._bar = Bar(*columns, rate, TimeRemainingColumn(), console=Console(stderr=True))
            self._task = self._bar.add_task(label, total=total, completed=done, rate=0.0)

    def add(self, images: int) -> None:
        """Count images as done, and show it if it is time to."""
        self.done += images
        now = time.monotonic()
        rate = (self.done - self.first) / max(1e-9, now - self.began)
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, rate=rate)
        elif now - self.shown >= LINE_INTERVAL:
            self.shown = now
            left = (self.total - self.done) / max(1e-9, rate)
            line = f"{self.label}: {self.done}/{self.total} images, {rate:.1f} images/s, {left:.0f} s left"
            print(line, file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
