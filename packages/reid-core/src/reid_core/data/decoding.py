"""Image files to RGB tensors."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image

from reid_core.data.lmdb_images import image_bytes

_TORCHVISION_MAGIC = (b"\xff\xd8", b"\x89PNG\r\n\x1a\n")
"""How JPEG and PNG begin; a file's suffix may lie, and a key of an LMDB has none."""


class UnreadableImage(OSError):
    """An image file that is missing, truncated or no image; the message names it."""


def read_image(path: str | Path) -> Tensor:
    """Decode an image file, or an image in an LMDB or a shard (`reid_core.data.lmdb_images`), to RGB.

    Conversions: grey is repeated thrice; alpha is dropped (not composed); a palette is looked up; CMYK is
    turned into RGB; of 16-bit samples the high byte is kept. EXIF orientation is not applied, for boxes and
    masks refer to the stored pixels. JPEG and PNG go through torchvision (twice as fast as Pillow), other
    formats through Pillow.

    Args:
        path: the file.

    Returns:
        uint8 [3 h w].

    Raises:
        UnreadableImage: the file is missing, truncated or no image.
    """
    path = os.fspath(path)
    try:
        data = image_bytes(path)
    except OSError as error:
        raise UnreadableImage(f"{path}: can't be read ({error})") from error
    return decode(data, path)


def decode(data: bytes, path: str) -> Tensor:
    """Decode an image's bytes to RGB, as `read_image` says.

    Args:
        data: the encoded image.
        path: where it is from, for the error.

    Returns:
        uint8 [3 h w].

    Raises:
        UnreadableImage: the bytes are truncated or no image.
    """
    try:
        if not data:
            raise ValueError("the file is empty")
        if data.startswith(_TORCHVISION_MAGIC):
            image = decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)
        else:
            image = _decode_with_pillow(data)
    except (OSError, RuntimeError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableImage(f"{path}: can't be read as an image ({str(error).splitlines()[0]})") from error
    if image.dtype == torch.uint16:
        image = (image.to(torch.int32) >> 8).to(torch.uint8)
    return image


def _decode_with_pillow(data: bytes) -> Tensor:
    with Image.open(BytesIO(data)) as opened:
        return from_pillow(opened)


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
