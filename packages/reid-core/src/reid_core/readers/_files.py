"""What the readers share: listing image files, and errors that say what was expected."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})


class ReaderError(ValueError):
    """A folder that is not the data set it was said to be."""


def is_image(name: str) -> bool:
    """Whether a file name is an image's. Hidden files aren't (archives from macOS hold "._0001.jpg")."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def require_folder(path: Path, dataset: str, expected: str) -> Path:
    """The folder, or FileNotFoundError that says what should be in it."""
    if not path.is_dir():
        raise FileNotFoundError(f"{dataset}: there is no folder {path}; expected {expected}")
    return path


def require_file(path: Path, dataset: str, expected: str) -> Path:
    """The file, or FileNotFoundError that says what it should hold."""
    if not path.is_file():
        raise FileNotFoundError(f"{dataset}: there is no file {path}; expected {expected}")
    return path


def image_names(folder: Path) -> list[str]:
    """Sorted names of the images directly in a folder; other files (Thumbs.db) are left out."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if is_image(entry.name))


def parse_names(
    names: Iterable[str], pattern: re.Pattern[str], folder: Path, wanted: str
) -> list[tuple[str, ...]]:
    """The pattern's groups of each name, or ReaderError naming the first name that doesn't match."""
    parsed = []
    for name in names:
        match = pattern.fullmatch(name)
        if match is None:
            raise ReaderError(f"{folder / name}: can't read this file name; expected {wanted}")
        parsed.append(match.groups())
    return parsed
