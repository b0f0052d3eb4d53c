"""The ground floor: files written whole or not at all, digests, folders of work that can be interrupted."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import numpy as np

BEGUN_FILE = "begun.json"
DONE_FILE = "done.json"
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of the system that mean that a file can't grow: no space, the user's quota, the largest size."""
ZEROS = 2**20
"""Bytes that are written at a time where blocks can't be reserved."""
_guards: list[Callable[[], None]] = []


class OwnershipLost(RuntimeError):
    """Another process has taken over the folder that this one was writing to."""


@contextmanager
def guard_writes(check: Callable[[], None]) -> Iterator[None]:
    """Have every write of this process that could change a result ask first whether it still may.

    Args:
        check: raises OwnershipLost where it may not.

    Example:
        >>> def refuse():
        ...     raise OwnershipLost("taken over")
        >>> with guard_writes(refuse):
        ...     write_atomically("never.txt", "")
        Traceback (most recent call last):
        reid_core.files.OwnershipLost: taken over
    """
    _guards.append(check)
    try:
        yield
    finally:
        _guards.remove(check)


def check_guards() -> None:
    """Ask the guards of every lock that this process holds; called before each write.

    Raises:
        OwnershipLost: a lock has been lost.
    """
    for check in list(_guards):
        check()


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary neighbour to write to, which gets the file's name when the block ends without an error.

    The content is on the disk before the name is (fsync of the file, rename, fsync of the folder): after a
    power cut a reader finds the old file or the whole new one. The temporary name begins with a dot and holds
    the process id; it is removed after an error.

    Args:
        path: the file; its folder is made where missing.

    Yields:
        The temporary path, with the file's own suffix.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic(Path(folder, "a.txt")) as temporary:
        ...         _ = temporary.write_text("hello")
        ...     [path.name for path in Path(folder).iterdir()]
        ['a.txt']
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        with name_file(path, temporary):
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        check_guards()
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


@contextmanager
def name_file(path: str | Path, temporary: Path | None = None) -> Iterator[None]:
    """Have an error of writing name the file: a full disk names none, others the temporary one.

    A writer's own error that stands for a full disk (torch's RuntimeError, safetensors') becomes an OSError.

    Args:
        path: what is written in the block.
        temporary: what it is called until it is whole.

    Example:
        >>> with name_file("features.npy"):
        ...     raise OSError(errno.ENOSPC, "No space left on device")
        Traceback (most recent call last):
        OSError: [Errno 28] No space left on device: 'features.npy'
    """
    try:
        yield
    except OSError as error:
        unnamed = error.errno in FULL_DISK and error.filename is None
        if unnamed or (temporary is not None and error.filename == os.fspath(temporary)):
            error.filename = os.fspath(path)
        raise
    except Exception as error:
        if number := _hidden_full_disk(error):
            raise OSError(number, os.strerror(number), os.fspath(path)) from error
        raise


def _hidden_full_disk(error: BaseException | None) -> int:
    """Number of the full disk's error that a writer's own error stands for, as torch's does; 0 for none."""
    while error is not None:
        said = re.search(r"\(os error (\d+)\)", str(error))  # as Rust writes it
        number = error.errno if isinstance(error, OSError) else int(said[1]) if said else 0
        if number in FULL_DISK:
            return number
        error = error.__context__
    return 0


def create_memmap(path: str | Path, shape: tuple[int, ...], dtype: Any) -> np.memmap:
    """Make a NumPy file of zeros, all of it on the disk, and map it into memory for writing.

    `np.lib.format.open_memmap` makes a sparse file, and writing to a hole of it ends the process by SIGBUS
    where the disk is full. Here a full disk is an error before anything is written. File systems that
    reserve no blocks get zeros written.

    Args:
        path: *.npy; overwritten.
        shape: of the array.
        dtype: of the array.

    Returns:
        the array, mapped.

    Raises:
        OSError: the disk is full; the file is named.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> create_memmap(folder / "a.npy", (2, 3), "float32").sum().item()
        0.0
    """
    from numpy.lib.format import open_memmap

    with name_file(path):
        array = open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        with open(path, "rb+") as file:
            _reserve(file, array.offset)
    return array


def _reserve(file: BinaryIO, start: int) -> None:
    """Give a file of zeros behind `start` all its blocks."""
    size = os.fstat(file.fileno()).st_size
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except AttributeError:  # not on macOS and Windows
        pass
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
    else:
        return
    file.seek(start)
    for first in range(start, size, ZEROS):
        file.write(bytes(min(ZEROS, size - first)))


def sync_folder(folder: Path) -> None:
    """Put a folder's names on the disk, where the system can (Windows opens no folder).

    Args:
        folder: an existing folder.
    """
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: str | Path, text: str) -> None:
    """Write text as UTF-8 by `atomic`.

    Args:
        path: file to write; its folder is made where missing.
        text: its content.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomically(Path(folder) / "a" / "b.txt", "hello")
        ...     (Path(folder) / "a" / "b.txt").read_text()
        'hello'
    """
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's content.

    Args:
        path: an existing file.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "a").write_text("abc")
        ...     file_digest(Path(folder) / "a")[:8]
        'ba7816bf'
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def plain(value: Any) -> Any:
    """A configuration as JSON's types: dataclasses as dicts, paths as POSIX strings, tuples as lists.

    Args:
        value: dataclasses, mappings, sequences, paths and JSON's own types, nested at will.

    Returns:
        The same value made of dict, list, str, int, float, bool and None.

    Raises:
        TypeError: for anything else; a digest over an object's address would never match again.

    Example:
        >>> plain({"size": (64, 32), "root": Path("a") / "b"})
        {'size': [64, 32], 'root': 'a/b'}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return Path(value).as_posix()
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"{value!r} of type {type(value).__name__} can't be written as JSON: give plain values")


def digest(value: Any) -> str:
    """SHA-256 of a plain value, independent of the order of keys and of how a number is written (1 or 1.0).

    Args:
        value: whatever `plain` takes.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> digest({"a": 1, "b": 2}) == digest({"b": 2.0, "a": 1}), digest({"a": 1}) == digest({"a": 2})
        (True, False)
    """
    return hashlib.sha256(json.dumps(_whole_as_int(plain(value)), sort_keys=True).encode()).hexdigest()


def _whole_as_int(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole_as_int(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole_as_int(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def claim(folder: str | Path, settings: Mapping[str, Any]) -> None:
    """Mark a folder as that of some work, or resume in it if it is that already; nothing in it is removed.

    Args:
        folder: made where missing.
        settings: all that decides the result; whatever `plain` takes.

    Raises:
        ValueError: it was begun with other settings, or holds something else.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> claim(folder, {"margin": 0.1})
        >>> claim(folder, {"margin": 0.2})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: ...was begun with {"margin": 0.1}, not {"margin": 0.2}; name another folder, or remove it
    """
    folder = Path(folder)
    file = folder / BEGUN_FILE
    now = json.dumps(plain(settings))
    # looked at first: a process beside this one may begin the same work meanwhile
    occupied = folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir())
    if file.exists():
        before = file.read_text().strip()
        if before != now:
            raise ValueError(
                f"{folder} was begun with {before}, not {now}; name another folder, or remove it"
            )
    elif occupied:
        raise ValueError(f"{folder} holds files of something else; name another folder")
    else:
        write_atomically(file, f"{now}\n")


def finish(folder: str | Path, summary: Mapping[str, Any]) -> None:
    """Mark a claimed folder's work as finished; written last.

    Args:
        folder: the folder.
        summary: what is to be known of the work; whatever `plain` takes.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     claim(folder, {"to": 3})
        ...     before = read_summary(folder)
        ...     finish(folder, {"total": 3})
        ...     before, read_summary(folder)
        (None, {'total': 3})
    """
    write_atomically(Path(folder) / DONE_FILE, json.dumps(plain(summary)) + "\n")


def read_summary(folder: str | Path) -> dict[str, Any] | None:
    """Summary of a folder's finished work; None where it is not finished.

    Args:
        folder: a folder that may not exist.

    Returns:
        What `finish` was given.
    """
    file = Path(folder) / DONE_FILE
    return dict(json.loads(file.read_text())) if file.exists() else None
