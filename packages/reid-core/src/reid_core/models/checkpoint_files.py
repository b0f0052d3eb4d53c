"""Checkpoint files read without pickle, and what a file is that can't be read so."""

from __future__ import annotations

import contextlib
import io
import mmap
import pickletools
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_file

from reid_core.models.model_config import refuse_placeholder

HEAD = 512
"""First bytes of a file that are looked at."""
ZIP, GZIP, HDF5 = b"PK\x03\x04", b"\x1f\x8b", b"\x89HDF\r\n\x1a\n"
TAR_AT, TAR = 257, b"ustar"
ENDINGS = ("EOF", "requires a buffer", "incomplete metadata", "not fully covered", "InvalidHeader")
"""What torch's and safetensors' errors say of a file that ends too early."""
PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
HEADER_SIZE = 8
"""Bytes that hold the length of a safetensors file's header."""
LEGACY_PICKLES = 5
"""Pickles, one after another, at the beginning of a file that torch.save wrote before it wrote archives."""
LONGEST_NAME = 1000
"""Letters of a class's name with its module."""
MAX_HEADER = 100 << 20
"""Bytes of the longest header that safetensors reads."""


class _Inert:
    """Stands for an object beside the weights, of which nothing is kept."""

    def __new__(cls, *_: Any, **__: Any) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, _: Any) -> None: ...


class _InertNode:
    """Stands for a yacs CfgNode, a dict with a state of its own: its items as an OrderedDict."""

    def __new__(cls, *_: Any) -> OrderedDict[str, Any]:  # type: ignore[misc]
        return OrderedDict()


# NumPy's own constructors are not called: a crafted dtype makes them read memory that isn't theirs.
STUBS: tuple[tuple[Any, str], ...] = (
    *(
        (_Inert, name)
        for name in (
            "argparse.Namespace",
            "numpy.core.multiarray.scalar",
            "numpy._core.multiarray.scalar",
            "numpy.core.multiarray._reconstruct",
            "numpy._core.multiarray._reconstruct",
            "numpy.ndarray",
            "numpy.dtype",
        )
    ),
    (_InertNode, "yacs.config.CfgNode"),
    (_InertNode, "fvcore.common.config.CfgNode"),
)
"""What trainers keep beside the weights (options, best scores), and what is built in its place."""


def read_checkpoint_file(path: str | Path) -> Any:
    """Read a checkpoint without pickle, on the CPU.

    A file is known by its first bytes, not by its suffix. NumPy's values, argparse's Namespace and yacs'
    CfgNode beside the weights are replaced by objects that hold and do nothing.

    Args:
        path: a safetensors file, or one that `torch.load(weights_only=True)` reads.

    Returns:
        Its content: a mapping of names to tensors, or whatever was saved around one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is something else, cut short, or holds more than tensors and plain values; the
            message says what it is and what to do.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "model.pth")
        ...     _ = file.write_text("version https://git-lfs.github.com/spec/v1\\noid sha256:12")
        ...     read_checkpoint_file(file)
        Traceback (most recent call last):
        ValueError: ...model.pth is a git-LFS pointer, not the file itself: fetch it with `git lfs pull`
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}: give a file")
    refuse_placeholder(path)
    with open(path, "rb") as file:
        head = file.read(HEAD)
    if cause := _diagnose(path, head):
        raise ValueError(f"{path} {cause}")
    refuse_long_names(path)
    try:
        if _is_safetensors(head):
            return load_file(path)
        with torch.serialization.safe_globals([*STUBS]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = describe_error(error)
        if any(sign in reason for sign in ENDINGS):
            raise ValueError(f"{path} is a checkpoint cut short ({reason}): fetch it again") from error
        raise ValueError(
            f"{path} can't be read as weights alone ({reason}); where you trust "
            "it, load it yourself and save its state_dict with safetensors"
        ) from error


def describe_error(error: Exception) -> str:
    """An error of reading a checkpoint in one line, without torch's advice on how to read the file unsafely.

    Args:
        error: torch's or safetensors'.

    Example:
        >>> describe_error(EOFError())
        'EOFError'
    """
    if isinstance(error, UnpicklingError) and isinstance(error.__context__, Exception):
        error = error.__context__  # torch's own has a page of advice around it
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line.partition(" Please use `torch")[0][:200]


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
    """What is wrong with a file that is no checkpoint, told by its bytes; nothing where it may be one."""
    if not head:
        return "is empty: fetch it again"
    if head.startswith(ZIP):
        return _diagnose_zip(path)
    if head.startswith(GZIP) or head[TAR_AT:].startswith(TAR):
        return "is a packed archive: unpack it and give the checkpoint in it"
    if head.startswith(HDF5):
        return "is an HDF5 file (Keras, TensorFlow): convert it to PyTorch"
    if _is_safetensors(head):
        return _diagnose_safetensors(path, head)
    if not head.startswith(PICKLES):
        return "is no checkpoint: expected a safetensors file or one of torch.save"
    return ""


def _diagnose_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        return f"is a checkpoint cut short or damaged ({error}): fetch it again"
    inside = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inside:
        target = path.with_name(f"{path.stem}_state_dict.pth").as_posix()
        return (
            "is a TorchScript archive, such as OpenAI publishes CLIP in; where you trust it (it is a "
            "program), convert it once by these two lines and give what they write:\n"
            f'module = torch.jit.load("{path.as_posix()}", map_location="cpu")\n'
            f'torch.save(module.state_dict(), "{target}")'
        )
    if "data.pkl" not in inside:
        return "is a zip archive without a checkpoint of torch in it: unpack it and give the file of weights"
    return ""


def _is_safetensors(head: bytes) -> bool:
    return head[HEADER_SIZE:].startswith(b"{") and _header_length(head) <= MAX_HEADER


def _diagnose_safetensors(path: Path, head: bytes) -> str:
    size, length = path.stat().st_size, _header_length(head)
    if HEADER_SIZE + length > size:
        return (
            f"is a safetensors file cut short (its header has {length:,} of {size:,} bytes): fetch it again"
        )
    return ""


def _header_length(head: bytes) -> int:
    return struct.unpack("<Q", head[:HEADER_SIZE])[0]
