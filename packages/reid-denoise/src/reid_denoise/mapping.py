"""How work on blocks is done, and how its progress is shown: two functions that a caller may exchange."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

Mapper = Callable[[Callable[..., Any], Iterable[tuple[Any, ...]]], Iterator[Any]]
"""Applies a function to tuples of arguments, in their order, as itertools.starmap does."""
Progress = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""Passes things on, and shows under a label how many there were, of how many."""
MOST_THREADS = 8
"""Each holds a block of features in memory."""


def map_in_threads(function: Callable[..., Any], items: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
    """Apply a function to tuples of arguments in threads, one a processor up to MOST_THREADS, in their order.

    Args:
        function: to apply; NumPy and SciPy let other threads run meanwhile.
        items: tuples of arguments; one more is read than there are threads.

    Yields:
        What the function returns.

    Example:
        >>> list(map_in_threads(max, [(1, 2), (4, 3)]))
        [2, 4]
    """
    workers = min(os.cpu_count() or 1, MOST_THREADS)
    with ThreadPoolExecutor(workers) as pool:
        yield from in_order((pool.submit(function, *item) for item in items), Future.result, workers + 1)


def in_order(handles: Iterator[Any], result: Callable[[Any], Any], most: int) -> Iterator[Any]:
    """Results of work under way, in the order in which it was begun; at most `most` are begun and not taken.

    Example:
        >>> list(in_order(iter([1, 2, 3]), str, most=2))
        ['1', '2', '3']
    """
    waiting: deque[Any] = deque()
    for handle in handles:
        waiting.append(handle)
        if len(waiting) >= most:
            yield result(waiting.popleft())
    while waiting:
        yield result(waiting.popleft())


def silent(things: Iterable[Any], label: str, total: int) -> Iterable[Any]:
    """Show no progress.

    Example:
        >>> silent([1, 2], "work", 2)
        [1, 2]
    """
    return things
