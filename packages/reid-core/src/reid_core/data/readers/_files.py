"""What the readers share: listing image files, and errors that say what was expected."""

from __future__ import annotations

import os
import re
from codecs import BOM_UTF8, getincrementaldecoder
from collections.abc import Iterable, Iterator
from pathlib import Path

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
MAX_DIGITS = 18
"""Every number of so many digits fits an int64."""
BLOCK = 1 << 20
"""Bytes of a text file that are looked at together."""


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


def base_folder(root: str | Path, dataset: str, below: tuple[str, ...], marker: str, expected: str) -> Path:
    """The data set's own folder: `root`, or one of the folders `below` it that releases unpack into.

    Args:
        root: what the user gave.
        dataset: its name, for the error.
        below: names of folders that may lie between, such as "prid_2011".
        marker: what lies in the right one.
        expected: said in the error.

    Returns:
        the first that holds `marker`.

    Raises:
        FileNotFoundError: none does.
    """
    root = require_folder(Path(root), dataset, expected)
    for folder in (root, *(root / name for name in below)):
        if (folder / marker).exists():
            return folder
    raise FileNotFoundError(f"{dataset}: {root} holds no {marker}; expected {expected}")


def require_utf8(folder: str | Path, names: list[str]) -> list[str]:
    """The names of files in a folder, or ReaderError naming the first that is not UTF-8.

    A manifest is saved as Parquet, whose text is UTF-8; Python reads other names as lone surrogates.
    """
    for name in names:
        if not name.isascii():
            try:
                name.encode()
            except UnicodeEncodeError as error:
                shown = os.fsencode(os.path.join(folder, name)).decode("utf-8", "backslashreplace")
                raise ReaderError(f"{shown}: the file name is not UTF-8; rename it") from error
    return names


def folder_names(folder: Path) -> list[str]:
    """Sorted names of the folders directly in a folder, without hidden ones."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    return require_utf8(folder, names)


def walk_images(root: Path) -> Iterator[tuple[str, list[str]]]:
    """The folders that hold images, at any depth; hidden ones are left out, links to folders not followed.

    Yields:
        the folder, POSIX and relative to `root` ("" for itself), and the sorted names of its images.
    """
    for folder, below, _ in os.walk(root):
        below[:] = require_utf8(folder, sorted(name for name in below if not name.startswith(".")))
        names = image_names(Path(folder))
        if names:
            yield Path(folder).relative_to(root).as_posix().removeprefix("."), names


def text_lines(file: Path) -> list[str]:
    """Lines of a UTF-8 text file, with or without a byte order mark, or ReaderError naming the bad line."""
    lines = []
    for number, line in enumerate(file.read_bytes().removeprefix(BOM_UTF8).splitlines(), 1):
        try:
            lines.append(line.decode())
        except UnicodeDecodeError as error:
            shown = line[:80].decode("utf-8", "backslashreplace")
            raise ReaderError(
                f"{file}: line {number} is {shown!r}, which is not UTF-8; save the list as UTF-8"
            ) from error
    return lines


def require_utf8_text(file: Path) -> None:
    """ReaderError naming the first line of a text file that is not UTF-8; it is read a block at a time."""
    decoder = getincrementaldecoder("utf-8")()
    with open(file, "rb") as stream:
        try:
            while block := stream.read(BLOCK):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            text_lines(file)  # names the line


def labelled_paths(file: Path, dataset: str) -> list[tuple[str, int]]:
    """The entries of a list whose lines are a path and a label.

    Raises:
        FileNotFoundError: no such file.
        ReaderError: a line is none of that form, or there is none.
    """
    entries = []
    file = require_file(file, dataset, "lines of a path and a label")
    for number, line in enumerate(text_lines(file), 1):
        if not line.strip():
            continue
        path, _, label = line.strip().rpartition(" ")
        if not path:
            raise ReaderError(f"{file}: line {number} is {line.strip()!r}; expected a path and a label")
        if not label.isdecimal() or len(label) > MAX_DIGITS:
            raise ReaderError(
                f"{file}: line {number} has the label {label!r}; expected an integer of 0 or more"
            )
        entries.append((path, int(label)))
    if not entries:
        raise ReaderError(f"{file}: holds no line; expected lines of a path and a label")
    return entries


def image_names(folder: Path) -> list[str]:
    """Sorted names of the images directly in a folder; other files (Thumbs.db) are left out."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if is_image(entry.name))
    return require_utf8(folder, names)


def parse_names(
    names: Iterable[str], pattern: re.Pattern[str], folder: Path, wanted: str
) -> list[tuple[str, ...]]:
    """The pattern's groups of each name, or ReaderError naming the first name that doesn't match.

    A number of more than MAX_DIGITS digits doesn't match either.
    """
    parsed = []
    for name in names:
        match = pattern.fullmatch(name)
        if match is None:
            raise ReaderError(f"{folder / name}: can't read this file name; expected {wanted}")
        groups = match.groups()
        long = next((part for part in groups if part and len(part) > MAX_DIGITS and part.isdecimal()), None)
        if long is not None:
            raise ReaderError(
                f"{folder / name}: the number {long} is too large; expected up to {MAX_DIGITS} digits"
            )
        parsed.append(groups)
    return parsed


def parsed_images(
    root: Path, sub: str, dataset: str, pattern: re.Pattern[str], wanted: str
) -> tuple[list[str], list[tuple[str, ...]]]:
    """The images directly in a sub-folder.

    Args:
        root: the data set's folder.
        sub: the sub-folder, POSIX.
        dataset: the data set's name, for errors.
        pattern: of the whole file name.
        wanted: what the pattern says, for errors.

    Returns:
        paths relative to `root`, and the pattern's groups of each name.

    Raises:
        FileNotFoundError: no such folder.
        ReaderError: it holds no image, or a name can't be parsed.
    """
    folder = require_folder(root / sub, dataset, f"images ({wanted})")
    names = image_names(folder)
    if not names:
        raise ReaderError(f"{dataset}: {folder} holds no image; expected {wanted}")
    return [f"{sub}/{name}" for name in names], parse_names(names, pattern, folder, wanted)
