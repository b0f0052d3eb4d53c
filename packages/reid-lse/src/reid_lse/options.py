"""The type of options that a command line or configuration passes on as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Options = dict[str, Any]
else:
    # Where Any is asked for, jsonargparse makes an object of a mapping with a class_path in it: it
    # imports and calls what a configuration file names. Bare dict and list are data all the way down.
    Options = dict[str, None | bool | int | float | list | dict | str]
    """Name -> plain value, whatever it holds; nothing in it is ever imported or called."""
