"""A source by name: one of the readers and a folder, or a manifest file."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from reid_core.data.readers._files import ReaderError
from reid_core.data.readers.table import READERS, WITHDRAWN

if TYPE_CHECKING:
    from reid_core.data.manifest import Manifest

MANIFEST_SUFFIXES = (".parquet", ".csv", ".tsv")


def read(source: str | Path, root: str | Path | None = None, **options: Any) -> Manifest:
    """Read a data set by name, or a manifest file.

    Args:
        source: one of READERS (market1501, mars, people, ...), or a manifest file (.parquet, .csv or .tsv;
            see `read_manifest_file`).
        root: the data set's folder as released (it holds bounding_box_train, bbox_train, ...); of a manifest
            file, the folder that its paths are relative to, which may be left out.
        options: the reader's keyword options.

    Returns:
        the manifest, with paths relative to `root` or to the data set's folder in it.

    Raises:
        FileNotFoundError: `root`, or a file of the release, is missing.
        ReaderError: unknown or withdrawn name, no root, an unknown option or one of another type, a file name
            that can't be parsed, an empty split.
        ManifestError: a manifest file holds a bad value.

    >>> read("dukemtmc", "/data/duke")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    reid_core.data.readers._files.ReaderError: DukeMTMC was withdrawn by its authors in 2019: ...
    """
    name = os.fspath(source)
    function = find_reader(name)
    if not root and not is_manifest_file(name):
        raise ReaderError(f"{name}: give the data set's folder as root")
    known = list_options(function)
    unknown = [option for option in options if option not in known]
    if unknown:
        there = f"it has {', '.join(known)}" if known else "it has none"
        raise ReaderError(f"{name} has no option {unknown[0]!r}; {there}")
    _check_types(name, function, options)
    if is_manifest_file(name):
        return function(name, root or None, **options)
    return function(root, **options)


def _check_types(source: str, function: Callable[..., Manifest], options: dict[str, Any]) -> None:
    """Refuse a value of another type than the option's: "false" counts as true, and true as 1."""
    parameters = inspect.signature(function, eval_str=True).parameters
    for option, value in options.items():
        hint = parameters[option].annotation
        allowed = (str,) if get_origin(hint) is Literal else get_args(hint) or (hint,)
        if not (type(value) in allowed or (type(value) is int and float in allowed)):
            expected = " or ".join(kind.__name__ for kind in allowed)
            raise ReaderError(f"{source}: got {option}={value!r}; expected {expected}")


def find_reader(source: str) -> Callable[..., Manifest]:
    """The function that reads a source.

    Args:
        source: as for `read`.

    Returns:
        `read_manifest_file` for a manifest file, otherwise the reader of that name.

    Raises:
        ReaderError: unknown or withdrawn name.
    """
    if is_manifest_file(source):
        from reid_core.data.readers.manifest_file import read_manifest_file

        return read_manifest_file
    key = source.lower().replace("-", "").replace("_", "")
    for withdrawn, why in WITHDRAWN.items():
        if key.startswith(withdrawn):
            raise ReaderError(why)
    if source not in READERS:
        files = f"or a manifest file ({', '.join(MANIFEST_SUFFIXES)})"
        raise ReaderError(f"no reader for {source!r}; there are {', '.join(READERS)}, {files}")
    return READERS[source].load()


def is_manifest_file(source: str | Path) -> bool:
    """Whether a source is a manifest file, by its suffix.

    >>> is_manifest_file("people.csv"), is_manifest_file("market1501")
    (True, False)
    """
    return os.path.splitext(source)[1].lower() in MANIFEST_SUFFIXES


def list_options(function: Callable[..., Manifest]) -> dict[str, Any]:
    """Names and defaults of a reader's options, without the source and root.

    Args:
        function: as `find_reader` returns.

    >>> list_options(find_reader("viper"))
    {'split': 0}
    """
    parameters = inspect.signature(function).parameters.values()
    return {one.name: one.default for one in parameters if one.name not in ("root", "file")}
