"""Progress of long work: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import track

LINE_INTERVAL = 10.0
"""Seconds after which a log file gets another line."""


def show_progress(things: Iterable[Any], label: str, total: int) -> Iterator[Any]:
    """Pass things on and show on stderr how many there were.

    Args:
        things: what to pass on.
        label: what they are.
        total: how many there will be.

    Example:
        >>> list(show_progress(range(2), "blocks", 2))
        [0, 1]
    """
    console = Console(stderr=True)
    if console.is_terminal:
        yield from track(things, label, total, console=console, transient=True)
        return
    began = last = time.monotonic()
    for done, thing in enumerate(things, start=1):
        yield thing
        now = time.monotonic()
        if now - last >= LINE_INTERVAL:
            last = now
            left = (now - began) / done * (total - done)
            console.print(f"{label}: {done}/{total}, {left:.0f} s left", highlight=False, markup=False)
