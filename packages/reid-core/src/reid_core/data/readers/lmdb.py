"""An LMDB of unlabeled person crops: keys -> encoded images (the form LUPerson is usually kept in)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from reid_core.data.lmdb_images import keys
from reid_core.data.manifest import Manifest
from reid_core.data.readers._files import ReaderError

DATA_FILES = ("data.mdb", "lmdb/data.mdb")
"""Where the data lies in a folder: LMDB's own name, as LUPerson's and LUPerson-NL's scripts write it."""


def read_lmdb(root: str | Path, name: str = "lmdb") -> Manifest:
    """Read an LMDB whose values are encoded images; all rows are in the split "unlabeled".

    The keys are taken from the database itself: LUPerson's keys.pkl is a pickle and isn't opened. A row's
    path leads into the database's file (data.mdb/00_01_0002_00000003); `reid_core.data.lmdb_images`
    reads such paths. Keys that begin with two underscores (__len__) are left out. Needs the extra `lmdb`.

    Args:
        root: the folder with data.mdb or lmdb/data.mdb, or the database's file.
        name: the manifest's name.

    Returns:
        the manifest, by key.

    Raises:
        FileNotFoundError: no database there.
        ReaderError: it holds no key.
        ImportError: the extra `lmdb` is not installed.
    """
    file = lmdb_file(root, name)
    if file is None:
        raise FileNotFoundError(f"{name}: {root} holds no LMDB; expected {' or '.join(DATA_FILES)}")
    folder, prefix = file.parent, file.name
    paths = [f"{prefix}/{key}" for key in keys(file)]
    if not paths:
        raise ReaderError(f"{name}: {file} holds no key")
    return Manifest(pd.DataFrame({"path": paths, "split": "unlabeled"}), folder, name)


def lmdb_file(root: str | Path, dataset: str) -> Path | None:
    """The database's file below `root`, or None where there is none.

    Args:
        root: a folder, or the file itself.
        dataset: its name, for the error.

    Raises:
        FileNotFoundError: there is no `root`.
    """
    root = Path(root)
    if root.is_file():
        return root
    if not root.is_dir():
        raise FileNotFoundError(f"{dataset}: there is no {root}; expected a folder, or an LMDB")
    return next((root / name for name in DATA_FILES if (root / name).is_file()), None)
