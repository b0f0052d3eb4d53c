"""LUPerson (Fu et al., "Unsupervised Pre-training for Person Re-identification", 2021): unlabeled crops."""

from __future__ import annotations

from pathlib import Path

from reid_core.data.manifest import Manifest
from reid_core.data.readers.folder import read_folder
from reid_core.data.readers.lmdb import lmdb_file, read_lmdb


def read_luperson(root: str | Path) -> Manifest:
    """Read LUPerson as its scripts write it: country/city/frame_index.jpg, or the LMDB of convert_lmdb.py.

    The folders hold crops of several videos and people, so no tracklets are made of them.

    Args:
        root: the folder of images (at any depth), or the folder that holds data.mdb or lmdb/data.mdb.

    Returns:
        the manifest; every row is "unlabeled".

    Raises:
        FileNotFoundError: no such folder.
        ReaderError: no image in it.
    """
    if lmdb_file(root, "luperson") is not None:
        return read_lmdb(root, name="luperson")
    return read_folder(root, tracklets=False, name="luperson")
