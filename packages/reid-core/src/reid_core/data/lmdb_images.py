"""Bytes of an image file, of an image in an LMDB (extra `lmdb`), or of one in a shard."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from reid_core.data.shard_images import shard_bytes, split_shard_path


def image_bytes(path: str | Path) -> bytes:
    """The encoded image at a path, which may lead into an LMDB's file (FOLDER/data.mdb/KEY) or a shard.

    Args:
        path: a file, a database's file followed by a key, or as `shard_images.shard_path`.

    Returns:
        the bytes.

    Raises:
        OSError: no such file or key, or a shard that ends too soon.
        ImportError: the path goes through a file, and the extra `lmdb` is not installed.
    """
    if in_shard := split_shard_path(os.fspath(path)):
        with suppress(FileNotFoundError, IsADirectoryError):  # then the path is of another kind, or none
            return shard_bytes(*in_shard)
    try:
        with open(path, "rb") as file:
            return file.read()
    except NotADirectoryError:  # a part of the path is a file: the rest is a key in it
        database = next(parent for parent in Path(path).parents if parent.is_file())
        key = os.fspath(path)[len(os.fspath(database)) + 1 :]
        if database.suffix == ".tar":
            return shard_bytes(os.fspath(database), key)
        with _environment(os.fspath(database), os.getpid()).begin(buffers=False) as transaction:
            value = transaction.get(key.encode())
        if value is None:
            raise FileNotFoundError(f"{database}: holds no key {key!r}") from None
        return value


def keys(file: Path) -> Iterator[str]:
    """Keys of an LMDB in their order, without those that begin with two underscores (__len__).

    Args:
        file: the database's file, such as data.mdb.

    Raises:
        OSError: the file is no LMDB.
        ValueError: a key is not UTF-8.
        ImportError: the extra `lmdb` is not installed.
    """
    with _environment(os.fspath(file), os.getpid()).begin() as transaction:
        for key in transaction.cursor().iternext(keys=True, values=False):
            if not key.startswith(b"__"):
                try:
                    yield key.decode()
                except UnicodeDecodeError as error:
                    raise ValueError(
                        f"{file}: the key {key!r} is not UTF-8; write it under another"
                    ) from error


@lru_cache(maxsize=64)
def _environment(file: str, process: int) -> Any:
    """The opened database; an LMDB must not be used across a fork, hence one a process."""
    try:
        import lmdb
    except ImportError as error:
        raise ImportError(f"{file}: is an LMDB; pip install lmdb") from error
    try:
        return lmdb.open(file, subdir=False, readonly=True, lock=False, readahead=False, meminit=False)
    except lmdb.Error as error:
        raise OSError(f"{file}: can't be opened as an LMDB ({error})") from error
