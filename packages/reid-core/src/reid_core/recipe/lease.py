"""Who writes a folder: a lock file beside it, with a lease that its owner renews while it lives."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import OwnerRecord, SoftFileLease, Timeout
from rich.console import Console

from reid_core.files import OwnershipLost, guard_writes

LEASE_SECONDS = float(os.environ.get("REID_LEASE_SECONDS", 300))
"""A lock that its owner has not renewed for so long may be taken over; the same on all machines."""


class Busy(RuntimeError):
    """Another process is writing the folder."""


def lock_file(folder: Path) -> Path:
    """Where the lock of a folder lies: beside it.

    Args:
        folder: that is locked; it need not exist.

    Example:
        >>> lock_file(Path("runs/stages/prepare-0a1b")).as_posix()
        'runs/stages/prepare-0a1b.lock'
    """
    return folder.with_name(f"{folder.name}.lock")


def owner(folder: Path) -> OwnerRecord | None:
    """The process that a folder's lock names, alive or not; None where there is no lock. No lock is taken.

    Args:
        folder: that may be locked.

    Example:
        >>> owner(Path("nowhere")) is None
        True
    """
    return _lease(folder).owner


def describe_owner(record: OwnerRecord) -> str:
    """An owner in words.

    Args:
        record: as `owner` returns it.
    """
    return f"process {record.pid} on {'this machine' if _is_here(record) else _host(record)}"


def is_alive(record: OwnerRecord) -> bool | None:
    """Whether an owner's process lives; None where that can't be told, for it runs on another machine.

    Args:
        record: as `owner` returns it.
    """
    if not _is_here(record):
        return None
    try:
        os.kill(record.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@contextmanager
def hold(folder: Path, what: str, wait: bool) -> Iterator[None]:
    """Hold a folder's lock; while it is held, every write asks first whether it still is.

    A dead owner on this machine is taken over at once, one that has not renewed its lease (it is on a machine
    that is gone, or stopped) after LEASE_SECONDS. A lease is no mutual exclusion: an owner that wakes up late
    finds the lock gone and stops before its next write (`reid_core.files.check_guards`).

    Args:
        folder: to lock; the lock file is made beside it.
        what: it is, for messages.
        wait: for a living owner; False raises at once if it is on this machine, after one lease elsewhere.

    Raises:
        Busy: a living owner has the lock.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     with hold(Path(place, "run"), "run demo", wait=False):
        ...         owner(Path(place, "run")).pid == os.getpid()
        True
    """
    lock_file(folder).parent.mkdir(parents=True, exist_ok=True)
    lease = _lease(folder)
    try:
        lease.acquire(timeout=0)
    except Timeout:
        _acquire_from_other(lease, what, wait)
    token = lease.token

    def check() -> None:
        now = lease.owner
        if now is None or now.token != token:
            by = "removed" if now is None else f"taken over by {describe_owner(now)}"
            raise OwnershipLost(f"the lock of {what} was {by}: this process stops without writing any more")

    try:
        with guard_writes(check):
            yield
    finally:
        lease.release()


def _acquire_from_other(lease: SoftFileLease, what: str, wait: bool) -> None:
    other = lease.owner
    name = describe_owner(other) if other else "another process"
    if not wait and other and _is_here(other):
        raise Busy(f"{what} is being written by {name}: wait for it to end, or choose another --name")
    until = "it ends" if wait else f"its lease of {LEASE_SECONDS:g} s runs out"
    message = f"{what} is being written by {name}; waiting until {until}"
    Console(stderr=True).print(message, highlight=False, soft_wrap=True)
    try:
        lease.acquire(timeout=-1 if wait else LEASE_SECONDS + 2 * lease.poll_interval + 1)
    except Timeout as error:
        raise Busy(f"{what} is still being written by {name}: choose another --name, or stop it") from error


def _lease(folder: Path) -> SoftFileLease:
    return SoftFileLease(
        lock_file(folder), lease_duration=LEASE_SECONDS, poll_interval=min(1.0, LEASE_SECONDS / 10)
    )


def _host(record: OwnerRecord) -> str:
    return record.hostname.partition("?")[0]


def _is_here(record: OwnerRecord) -> bool:
    return _host(record) == socket.gethostname()
