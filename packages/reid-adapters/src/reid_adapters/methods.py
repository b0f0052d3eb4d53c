"""Methods by name: the adapters of VSLA-CLIP, and others to compare them with."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from reid_adapters.method import Method

METHODS = {
    "vsla": "reid_adapters.vsla",
    "ifa": "reid_adapters.ifa",
    "cfaa": "reid_adapters.cfaa",
    "pbp": "reid_adapters.pbp",
    "lora": "reid_adapters.lora",
    "adaptformer": "reid_adapters.adaptformer",
    "vpt": "reid_adapters.vpt",
    "ia3": "reid_adapters.ia3",
}
"""Methods and the modules whose `METHOD` they are."""

GROUP = "reid_adapters.methods"
"""Group of entry points by which other distributions add methods."""


def find_method(name: str) -> Method:
    """A method by the name that its configuration class has as `method`.

    Raises:
        ValueError: an unknown name, or an entry point that leads to something else.

    Example:
        >>> find_method("ifa").config.__name__
        'IFAConfig'
    """
    if name in METHODS:
        return import_module(METHODS[name]).METHOD
    for entry in entry_points(group=GROUP, name=name):
        method = entry.load()
        if not isinstance(method, Method):
            raise ValueError(f"{entry.value} is no reid_adapters Method, which {name} should lead to")
        return method
    known = [*METHODS, *sorted(entry.name for entry in entry_points(group=GROUP))]
    raise ValueError(f"unknown method {name!r}; known are {', '.join(known)}")


def method_of(config: Any) -> Method:
    """The method of a configuration.

    Raises:
        TypeError: it is no configuration of a method.

    Example:
        >>> method_of({"bottleneck": 64})
        Traceback (most recent call last):
        TypeError: config must be of a method's configuration class such as VSLAConfig, or None, got dict
    """
    name = getattr(config, "method", None)
    if not isinstance(name, str):
        raise TypeError(
            "config must be of a method's configuration class such as VSLAConfig, or None, got "
            f"{type(config).__name__}"
        )
    return find_method(name)
