"""Image files to RGB tensors."""

from __future__ import annotations

import os
import time
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image

from reid_core.data.lmdb_images import image_bytes

_JPEG = b"\xff\xd8"
"""How a JPEG begins; a file's suffix may lie, and a key of an LMDB has none."""


BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 2**26
"""Pixels of an image beyond which it is taken for a decompression bomb; Pillow's limit, for all decoders."""
RETRY_SECONDS = (0.1, 1.0)
"""Pauses before a file is read again that the storage failed to give; not where it says there is none."""


class UnreadableImage(OSError):
    """Bytes that are no image, or a truncated one; the message names the file. They stay what they are."""


class UnreachableImage(UnreadableImage):
    """A file that the storage did not give: missing, or an error of the disk or network. It may come back."""


def read_image(path: str | Path) -> Tensor:
    """Decode an image file, or an image in an LMDB or a shard (`reid_core.data.lmdb_images`), to RGB.

    Conversions: grey is repeated thrice; alpha is dropped (not composed); a palette is looked up; CMYK is
    turned into RGB; of 16-bit samples the high byte is kept. EXIF orientation is not applied, for boxes and
    masks refer to the stored pixels. JPEG goes through torchvision (twice as fast as Pillow), other formats
    through Pillow: of a PNG with a damaged byte torchvision's decoder ends the process.

    Args:
        path: the file.

    Returns:
        uint8 [3 h w].

    Raises:
        UnreachableImage: the file is missing, or the storage failed, three times.
        UnreadableImage: the file is truncated, no image, or larger than MAX_PIXELS.
    """
    path = os.fspath(path)
    return decode(reach(path), path)


def reach(path: str) -> bytes:
    """The bytes at a path, as `image_bytes` reads them; tried again where the storage fails.

    Args:
        path: a file, or an image in an LMDB or a shard.

    Raises:
        UnreachableImage: there is no such file, or the storage failed again and again.
    """
    for pause in (*RETRY_SECONDS, None):
        try:
            return image_bytes(path)
        except FileNotFoundError as error:
            raise UnreachableImage(f"{path}: can't be read ({error})") from error
        except OSError as error:
            if pause is None:
                raise UnreachableImage(f"{path}: can't be read ({error})") from error
            time.sleep(pause)
    raise AssertionError


def decode(data: bytes, path: str) -> Tensor:
    """Decode an image's bytes to RGB, as `read_image` says.

    Args:
        data: the encoded image.
        path: where it is from, for the error.

    Returns:
        uint8 [3 h w].

    Raises:
        UnreadableImage: the bytes are truncated, no image, or one of more than MAX_PIXELS.
    """
    try:
        if not data:
            raise ValueError("the file is empty")
        width, height = _jpeg_size(data)
        _check_pixels(width, height)
        if width and height:
            image = decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)
        else:
            image = _decode_with_pillow(data)
    except (OSError, RuntimeError, ValueError, SyntaxError, *BOMBS) as error:
        raise UnreadableImage(f"{path}: can't be read as an image ({str(error).splitlines()[0]})") from error
    return image


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width} x {height} pixels; expected at most {MAX_PIXELS:,}")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height as a JPEG's header says; (0, 0) where it can't be told, and of other formats."""
    at = len(_JPEG) if data.startswith(_JPEG) else len(data)
    while at + 9 < len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of a frame
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        at += 1 if marker == 0xFF else 2 + length
    return 0, 0


def _decode_with_pillow(data: bytes) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)  # Pillow refuses twice its limit only
        try:
            with Image.open(BytesIO(data)) as opened:
                _check_pixels(opened.width, opened.height)  # whatever Pillow's own limit was set to
                return from_pillow(opened)
        except UnidentifiedImageError as error:  # whose text holds an object's address
            raise ValueError("of no format that Pillow knows") from error


def from_pillow(image: Image.Image) -> Tensor:
    """A Pillow image of any mode as RGB, converted as `read_image` says.

    Args:
        image: the image.

    Returns:
        uint8 [3 h w].

    Example:
        >>> from_pillow(Image.new("L", (2, 1), 7)).tolist()
        [[[7, 7]], [[7, 7]], [[7, 7]]]
    """
    if image.mode.startswith("I;16") or image.mode == "I":
        high = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return torch.from_numpy(high).expand(3, -1, -1).contiguous()
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()
