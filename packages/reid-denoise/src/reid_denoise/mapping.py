"""How work on blocks is done, and how its progress is shown: two functions that a caller may exchange."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

Mapper = Callable[[Callable[..., Any], Iterable[tuple[Any, ...]]], Iterator[Any]]
"""Applies a function to tuples of arguments, in their order, as itertools.starmap does; on a cluster, say."""
Progress = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""Passes things on, and shows under a label how many there were, of how many."""


def silent(things: Iterable[Any], label: str, total: int) -> Iterable[Any]:
    """Show no progress.

    Example:
        >>> silent([1, 2], "work", 2)
        [1, 2]
    """
    return things
