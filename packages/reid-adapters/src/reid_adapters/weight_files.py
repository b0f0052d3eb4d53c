"""Files of other projects' weights, read without pickle, and what a file is that can't be read so."""

from __future__ import annotations

import contextlib
import io
import mmap
import pickletools
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

HEAD = 64
"""First bytes of a file that are looked at."""
LFS_POINTER = b"version https://git-lfs"
WEB_PAGES = (b"<!doctype html", b"<html")
ZIP, PICKLE = b"PK\x03\x04", b"\x80"
"""How the files of torch.save begin, today's and those of before torch 1.6."""
HEADER_AT = 8
"""Where the header of a safetensors file begins, which is JSON: behind its length."""
LEGACY_PICKLES = 5
"""Pickles, one after another, at the beginning of a file that torch.save wrote before it wrote archives."""
LONGEST_NAME = 1000
"""Letters of a class's name with its module."""
TORCHSCRIPT = "constants.pkl"
"""A member that only TorchScript archives have."""
ENDINGS = ("EOF", "not fully covered")
"""What torch's and safetensors' errors say of a file that ends too early."""


class _Inert:
    """Stands for an object beside the weights, of which nothing is kept."""

    def __new__(cls, *_: Any) -> _Inert:
        return super().__new__(cls)

    def __setstate__(self, _: Any) -> None: ...


class _InertNode:
    """Stands for a yacs CfgNode, a dict with a state of its own: its items as an OrderedDict."""

    def __new__(cls, *_: Any) -> OrderedDict[str, Any]:  # type: ignore[misc]
        return OrderedDict()


STUBS: tuple[tuple[Any, str], ...] = (
    (_InertNode, "yacs.config.CfgNode"),
    (_Inert, "argparse.Namespace"),
    (_Inert, "numpy.core.multiarray.scalar"),
    (_Inert, "numpy._core.multiarray.scalar"),
    (_Inert, "numpy.dtype"),
)
"""What trainers keep beside the weights (ViFi-CLIP its settings), and what is built in its place."""


def read_weight_file(path: str | Path) -> Any:
    """Read a file of weights without pickle, on the CPU.

    yacs' CfgNode, argparse's Namespace and NumPy's numbers beside the weights are replaced by objects that
    hold and do nothing.

    Args:
        path: a safetensors file or one of torch.save; known by its first bytes, not by its suffix.

    Returns:
        Its content: tensors by name, or whatever was saved around them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is something else, cut short, or holds more than tensors and plain values; the
            message says what it is and what to do.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "clip.pth")
        ...     _ = file.write_text("version https://git-lfs.github.com/spec/v1")
        ...     read_weight_file(file)
        Traceback (most recent call last):
        ValueError: ...clip.pth is a git-LFS pointer, not the file itself: fetch it with `git lfs pull`
    """
    path = Path(path)
    head = refuse_other_file(path)
    try:
        if head.startswith((ZIP, PICKLE)):
            with torch.serialization.safe_globals([*STUBS]):
                return torch.load(path, map_location="cpu", weights_only=True)
        return load_file(path)
    except Exception as error:
        cause = error.__context__ or error  # torch puts a page of advice around its own
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        if isinstance(cause, EOFError) or any(ending in reason for ending in ENDINGS):
            raise ValueError(f"{path} is a file of weights cut short ({reason}): fetch it again") from error
        raise ValueError(
            f"{path} can't be read as plain tensors ({reason.partition(' Please use `torch')[0][:200]}); "
            "where you trust it, load it yourself and save its state_dict with safetensors"
        ) from error


def refuse_other_file(path: Path) -> bytes:
    """Refuse a file that holds no weights, and say what it is.

    Args:
        path: the file.

    Returns:
        Its first bytes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a git-LFS pointer, a web page, a TorchScript archive, empty, cut short or another.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path} of weights: give one")
    with open(path, "rb") as file:
        head = file.read(HEAD)
    if cause := _diagnose(path, head):
        raise ValueError(f"{path} {cause}")
    refuse_long_names(path)
    return head


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


def _diagnose(path: Path, head: bytes) -> str:
    """What is wrong with a file that holds no weights, told by its bytes; nothing where it may hold some."""
    text = head.lstrip().lower()
    if not head:
        return "is empty: fetch it again"
    if text.startswith(LFS_POINTER):
        return "is a git-LFS pointer, not the file itself: fetch it with `git lfs pull`"
    if text.startswith(WEB_PAGES):
        return "is a web page, not a file of weights: download the file itself"
    if head.startswith(ZIP):
        return _diagnose_zip(path)
    if not head.startswith(PICKLE) and head[HEADER_AT : HEADER_AT + 1] != b"{":
        return "is no file of weights: expected a safetensors file or one of torch.save"
    return ""


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
        "is a TorchScript archive, such as OpenAI publishes CLIP in; where you trust it (it is a program), "
        "convert it once by these two lines and give what they write:\n"
        f'module = torch.jit.load("{path.as_posix()}", map_location="cpu")\n'
        f'torch.save(module.state_dict(), "{target}")'
    )
