"""What a file is that should hold weights and holds none, told by its bytes."""

from __future__ import annotations

import zipfile
from pathlib import Path

HEAD = 64
"""First bytes of a file that are looked at."""
LFS_POINTER = b"version https://git-lfs"
WEB_PAGES = (b"<!doctype html", b"<html")
ZIP = b"PK\x03\x04"
"""How the files of torch.save begin."""
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


def _diagnose_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except zipfile.BadZipFile as error:
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
