"""Labelled data by one word on the command line: a manifest file, a folder of persons, or READER:FOLDER."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from reid_core.data.manifest import Manifest
from reid_core.data.readers import READERS, is_manifest_file, read
from reid_eval import PROTOCOLS, find_protocol
from reid_eval.protocols import Protocol

OWN = "people"
"""Reader of a folder of persons."""


class DataSet(NamedTuple):
    """A data set to score a model on.

    Attributes:
        name: for tables.
        manifest: with the splits query and gallery.
        protocol: which pairs count: the data set's own.
    """

    name: str
    manifest: Manifest
    protocol: Protocol


def read_data_set(source: str) -> DataSet:
    """Read a data set that has queries and a gallery.

    Args:
        source: a manifest file (.parquet, .csv, .tsv); a folder with a folder per person; or a reader's name
            and its folder, as in market1501:/data/market (`reid-data list` prints the readers).

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: no such reader, or no query or gallery.

    Example:
        >>> read_data_set("no/such/folder")
        Traceback (most recent call last):
        FileNotFoundError: no/such/folder: ...
    """
    reader, _, folder = source.partition(":")
    if is_manifest_file(source):
        manifest = read(source)
        known = manifest.name if manifest.name in PROTOCOLS else "manifest"
        data = DataSet(Path(source).stem, manifest, find_protocol(known))
    elif folder and reader in READERS:
        data = DataSet(reader, read(reader, folder), find_protocol(reader))
    elif Path(source).is_dir():
        data = DataSet(Path(source).resolve().name, read(OWN, source), find_protocol(OWN))
    else:
        raise FileNotFoundError(
            f"{source}: there is no such folder or manifest file; a reader's data are given as READER:FOLDER "
            f"with one of {', '.join(READERS)}"
        )
    missing = {"query", "gallery"} - set(data.manifest.table["split"])
    if missing:
        raise ValueError(
            f"{source} has no rows of split {' and '.join(sorted(missing))}: scoring a model takes both"
        )
    return data
