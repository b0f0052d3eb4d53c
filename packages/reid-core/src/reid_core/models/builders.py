"""What builds a model folder's network, found by name through the entry-point group `reid.models`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from torch import nn

GROUP = "reid.models"
"""Entry-point group. A builder takes plain JSON by name and returns an `nn.Module` from images [b 3 h w] or
clips [b t 3 h w], float, to features [b d]."""

OWN = tuple(
    EntryPoint(name, f"reid_core.models.retrieval:{name}", GROUP)
    for name in ("backbone", "bnneck", "transreid", "mgn")
)
"""reid-core's own, as its pyproject.toml declares them: found where it is on the path without being
installed."""
NAME = re.compile(r"[A-Za-z0-9_-]+")


def find_builder(name: str) -> Callable[..., nn.Module]:
    """A builder by its name; a class path is no name, so that a file can't choose what is imported.

    Args:
        name: as declared in the entry-point group `reid.models` of an installed distribution, or one of
            reid-core's own, which are found without its metadata too.

    Raises:
        ValueError: no builder has that name, or two do, or its package can't be imported.

    Example:
        >>> find_builder("bnneck").__name__
        'bnneck'
    """
    if not NAME.fullmatch(name):
        raise ValueError(
            f"builder {name!r} is not a name: expected letters, digits, - and _, such as bnneck; a path to "
            "a class is never imported"
        )
    declared = (*OWN, *entry_points(group=GROUP))
    points = {point.value: point for point in declared if point.name == name}
    if not points:
        names = ", ".join(sorted({point.name for point in declared}))
        raise ValueError(
            f"no builder named {name!r}: there are {names}; install the package that declares it in the "
            f"entry-point group {GROUP}"
        )
    if len(points) > 1:
        raise ValueError(f"builder {name!r} is declared twice, as {' and '.join(points)}: uninstall one")
    (point,) = points.values()
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise ValueError(f"builder {name!r} is declared as {point.value}, but: {error}") from error


def build(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Call a builder.

    Args:
        name: the builder's.
        arguments: by name, in JSON's types.

    Returns:
        The module, randomly initialised.

    Raises:
        ValueError: as `find_builder`; or the builder refuses the arguments, or returns no module.
    """
    builder = find_builder(name)
    try:
        model = builder(**arguments)
    except Exception as error:  # whatever its libraries raise at what a file says
        raise ValueError(f"builder {name!r} can't build with {dict(arguments)}: {error}") from error
    if not isinstance(model, nn.Module):
        raise ValueError(f"builder {name!r} returned {type(model).__name__}; expected an nn.Module")
    return model
