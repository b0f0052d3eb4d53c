"""Dataset readers: a folder as it was released in, a Manifest out. One file a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reid_core.manifest import Manifest
from reid_core.readers._files import ReaderError
from reid_core.readers.folder import read_folder
from reid_core.readers.market1501 import read_market1501
from reid_core.readers.mars import read_mars
from reid_core.readers.pku_reid import read_pku_reid

READERS = {
    "market1501": read_market1501,
    "mars": read_mars,
    "pku_reid": read_pku_reid,
    "folder": read_folder,
}

WITHDRAWN = {
    "dukemtmc": "DukeMTMC was withdrawn by its authors in 2019: people were filmed without their consent. "
    "It is not read here; use another data set, such as market1501.",
}

__all__ = ["READERS", "ReaderError", "read", "read_folder", "read_market1501", "read_mars", "read_pku_reid"]


def read(name: str, root: str | Path, **options: Any) -> Manifest:
    """Read a data set by name.

    Args:
        name: market1501, mars, pku_reid or folder.
        root: the folder as released (it holds bounding_box_train, bbox_train, ...).
        options: that reader's keyword options.

    Returns:
        the manifest, with paths relative to `root`.

    Raises:
        FileNotFoundError: `root`, or a file of the release, is missing.
        ReaderError: unknown or withdrawn name, a file name that can't be parsed, an empty split.

    >>> read("dukemtmc", "/data/duke")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    reid_core.readers._files.ReaderError: DukeMTMC was withdrawn by its authors in 2019: ...
    """
    key = name.lower().replace("-", "").replace("_", "")
    for withdrawn, why in WITHDRAWN.items():
        if key.startswith(withdrawn):
            raise ReaderError(why)
    if name not in READERS:
        raise ReaderError(f"no reader for {name!r}; there are {', '.join(READERS)}")
    return READERS[name](root, **options)
