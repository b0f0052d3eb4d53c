"""Bytes of an image that lies in a shard (a tar file of `packing.pack`), at a place that its path says."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from threading import Lock

READ_AHEAD_AFTER = 8
"""Images after which all of a shard is asked for, in one go, as disks like it. Who draws from all shards at
once has most of them closed again before (`OPEN_SHARDS`)."""
OPEN_SHARDS = 64
_PLACE = re.compile(r"(?<=\.tar)([/\\])(\d+\+\d+)/")


def shard_path(shard: str, start: int, size: int, name: str) -> str:
    """The path of an image in a shard, which says where its bytes are.

    Args:
        shard: the tar file.
        start: offset of the image's first byte.
        size: number of bytes.
        name: what it was called before.

    Example:
        >>> shard_path("000000.tar", 512, 9000, "query/1.jpg")
        '000000.tar/512+9000/query/1.jpg'
    """
    return f"{shard}/{start}+{size}/{name}"


def split_shard_path(path: str) -> tuple[str, str] | None:
    """A shard and a place in it, told by how the path reads; None of other paths.

    Args:
        path: any.

    Example:
        >>> split_shard_path("a/000000.tar/512+9000/query/1.jpg"), split_shard_path("a/1.jpg")
        (('a/000000.tar', '512+9000/query/1.jpg'), None)
    """
    found = _PLACE.search(path)
    return (path[: found.start(1)], path[found.start(2) :]) if found else None


def shard_bytes(shard: str, place: str) -> bytes:
    """The encoded image at a place in a shard.

    Args:
        shard: the tar file.
        place: the rest of a `shard_path`.

    Raises:
        FileNotFoundError: no such file, or it ends before the image does.
    """
    start, plus, size = place.partition("/")[0].partition("+")
    if not (start.isdecimal() and plus and size.isdecimal()):
        raise FileNotFoundError(f"{shard}: got the place {place!r}; expected START+SIZE/NAME")
    data = _open(shard).read(int(start), int(size))
    if len(data) < int(size):
        raise FileNotFoundError(f"{shard}: ends before the image at {place}; pack it again")
    return data


class _Shard:
    """An open shard that is read ahead once it has been read from a few times."""

    def __init__(self, path: str) -> None:
        self.file = open(path, "rb", buffering=0)  # noqa: SIM115 - lives as long as the cache has it
        self.size = os.fstat(self.file.fileno()).st_size
        self.reads = 0
        self.lock = Lock()

    def read(self, start: int, size: int) -> bytes:
        self.reads += 1
        if start + size > self.size:  # a place of anybody's making must not ask for so much memory
            return b""
        if self.reads == READ_AHEAD_AFTER and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self.file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
        if hasattr(os, "pread"):  # no position: threads and forks may share the file
            return os.pread(self.file.fileno(), size, start)
        with self.lock:  # Windows, which has no forks
            self.file.seek(start)
            return self.file.read(size)


@lru_cache(maxsize=OPEN_SHARDS)
def _open(path: str) -> _Shard:
    return _Shard(path)
