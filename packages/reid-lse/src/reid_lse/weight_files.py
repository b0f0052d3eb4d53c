"""What a file is that should hold weights and holds none, told by its bytes."""

from __future__ import annotations

import contextlib
import io
import mmap
import pickletools
import struct
import zipfile
from pathlib import Path
from typing import Any

HEAD = 64
"""First bytes of a file that are looked at."""
LFS_POINTER = b"version https://git-lfs"
WEB_PAGES = (b"<!doctype html", b"<html")
ZIP = b"PK\x03\x04"
"""How the files of torch.save begin."""
LEGACY_PICKLES = 5
"""Pickles, one after another, at the beginning of a file that torch.save wrote before it wrote archives."""
LONGEST_NAME = 1000
"""Letters of a class's name with its module."""
TORCHSCRIPT = "constants.pkl"
"""A member that only TorchScript archives have."""


def refuse_other_file(path: Path) -> None:
    """Refuse a file that can hold no weights, and say what it is.

    Args:
        path: an existing file.

    Raises:
        ValueError: it is empty, a git-LFS pointer, a web page, a TorchScript archive or a zip file cut short.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "sam.pth")
        ...     _ = file.write_text("version https://git-lfs.github.com/spec/v1")
        ...     refuse_other_file(file)
        Traceback (most recent call last):
        ValueError: ...sam.pth is a git-LFS pointer, not the file itself: fetch it with `git lfs pull`
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    text = head.lstrip().lower()
    cause = ""
    if not head:
        cause = "is empty: fetch it again"
    elif text.startswith(LFS_POINTER):
        cause = "is a git-LFS pointer, not the file itself: fetch it with `git lfs pull`"
    elif text.startswith(WEB_PAGES):
        cause = "is a web page, not a file of weights: download the file itself"
    elif head.startswith(ZIP):
        cause = _diagnose_zip(path)
    if cause:
        raise ValueError(f"{path} {cause}")
    refuse_long_names(path)


def refuse_long_names(path: Path) -> None:
    """Refuse what torch would for hours: in a class's name it seeks words, in time of its length squared.

    Args:
        path: a file of torch.save, or another, which is let pass.

    Raises:
        ValueError: it names a class of more than LONGEST_NAME letters.
    """
    # What is damaged otherwise, torch will say.
    damaged = (OSError, EOFError, RuntimeError, struct.error, zipfile.BadZipFile)
    with contextlib.suppress(*damaged), open(path, "rb") as file:
        pickles: list[Any] = []
        if zipfile.is_zipfile(path):
            archive = zipfile.ZipFile(file)
            members = [member for member in archive.infolist() if member.filename.endswith("/data.pkl")]
            stored = [member for member in members if member.compress_type == zipfile.ZIP_STORED]
            pickles = [io.BytesIO(archive.read(member)) for member in stored]
        elif file.read(1) == b"\x80":
            # Of both a read gives what is there, however much a damaged length asks for.
            pickles = [mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)] * LEGACY_PICKLES
        longest = 0
        try:
            for opened in pickles:
                for operation, argument, _ in pickletools.genops(opened):
                    if operation.name in ("GLOBAL", "INST"):
                        longest = max(longest, len(str(argument)))
        except (ValueError, OverflowError) as error:  # no pickle from here on, as torch will say
            longest = LONGEST_NAME + 1 if "newline" in str(error) else longest
        if longest > LONGEST_NAME:
            raise ValueError(
                f"{path} names a class of over {LONGEST_NAME:,} letters: it is damaged, or made to harm"
            )


def _diagnose_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        return f"is a file of weights cut short or damaged ({error}): fetch it again"
    if not any(member.endswith(f"/{TORCHSCRIPT}") for member in members):
        return ""
    target = path.with_name(f"{path.stem}_state_dict.pth").as_posix()
    return (
        "is a TorchScript archive; where you trust it (it is a program), convert it once by these two lines "
        "and give what they write:\n"
        f'module = torch.jit.load("{path.as_posix()}", map_location="cpu")\n'
        f'torch.save(module.state_dict(), "{target}")'
    )
