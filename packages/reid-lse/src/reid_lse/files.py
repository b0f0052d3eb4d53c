"""Images as the command line gets them: a folder or a manifest, and each file as an RGB tensor."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm")

MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 2**26
"""Pixels of an image beyond which it is taken for a decompression bomb: Pillow's limit."""


RETRY_SECONDS = (0.1, 1.0)
"""Pauses before a file is read again that the storage failed to give; not where it says there is none."""


class UnreadableImage(ValueError):
    """A file that is no image, or one that can't be used; the message says which and why."""


def read_image(path: str | Path) -> Tensor:
    """Read an image as RGB: grey and palette images are converted, transparency is dropped.

    Args:
        path: file.

    Returns:
        uint8 [3 h w].

    Raises:
        UnreadableImage: no image, cut off, deeper than 8 bits, or of more than MAX_PIXELS.
        OSError: the file is missing, or the storage failed, three times.
    """
    data = BytesIO(_reach(Path(path)))
    try:
        with Image.open(data) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS}")
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"pixels of mode {image.mode}: convert it to 8 bits a channel")
            pixels = np.asarray(image.convert("RGB"))
    # Pillow's readers raise all of these on damaged files.
    except UnidentifiedImageError:
        raise UnreadableImage(f"{path}: not an image that Pillow reads") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableImage(f"{path}: {error}") from None
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous()


def _reach(path: Path) -> bytes:
    """A file's bytes; tried again where the storage fails."""
    for pause in RETRY_SECONDS:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise
        except OSError:
            time.sleep(pause)
    return path.read_bytes()


class Images(NamedTuple):
    """Images to work on.

    Attributes:
        root: folder that the paths are relative to.
        paths: with "/" between folders.
        read: from an absolute path to uint8 [3 h w]; raises UnreadableImage for what is no image, OSError for
            what the storage does not give.
    """

    root: Path
    paths: list[str]
    read: Callable[[str], Tensor] = read_image


def list_images(source: str | Path) -> Images:
    """The images of a folder, sorted by path, or those of a manifest, in its order.

    Args:
        source: a folder, searched with its sub-folders, or a Parquet table with a column `path`, relative to
            the `reid.root` of its metadata, else to the folder that it lies in.

    Returns:
        Images.

    Raises:
        FileNotFoundError: no such folder or file.
        ValueError: no image, a file of another kind, a path that leaves the root.
    """
    source = Path(source)
    if source.is_dir():
        found = (
            Path(folder, name).relative_to(source).as_posix()
            for folder, _, names in os.walk(source)
            for name in names
            if name.lower().endswith(SUFFIXES)
        )
        images = Images(source.absolute(), sorted(found))
    elif not source.exists():
        raise FileNotFoundError(f"{source}: no such folder of images or manifest")
    else:
        images = _from_manifest(source)
    if not images.paths:
        raise ValueError(f"{source}: expected images ({', '.join(SUFFIXES)}), found none")
    return images


def _from_manifest(source: Path) -> Images:
    try:
        table = pq.read_table(source, columns=["path"])
    except (pa.ArrowException, KeyError) as error:
        raise ValueError(f"{source}: expected a folder, or Parquet with a column 'path'; {error}") from None
    if table.num_columns == 0:
        raise ValueError(f"{source}: column 'path' is missing; it names an image a row")
    paths = table["path"].to_pylist()
    for row, path in enumerate(paths):
        if not isinstance(path, str) or not _stays(path):
            raise ValueError(f"{source}, row {row}: path {path!r} leaves the root; expected one below it")
    saved = (table.schema.metadata or {}).get(b"reid.root", b"").decode()
    return Images(Path(saved) if saved else source.absolute().parent, paths)


def _stays(path: str) -> bool:
    """Whether a relative path stays below its root: neither absolute nor climbing."""
    return not (
        path.startswith("/") or "\\" in path or path[1:2] == ":" or ".." in path.split("/") or not path
    )
