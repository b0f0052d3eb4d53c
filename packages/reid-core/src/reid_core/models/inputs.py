"""What an embedder takes: images and tracklets as paths, arrays, tensors, Pillow images or manifest rows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reid_core.data.decoding import UnreadableImage, from_pillow, read_image
from reid_core.data.manifest import Manifest

TAKEN = (
    "a path, a uint8 array [h w 3], a uint8 tensor [3 h w] or a Pillow image; of a tracklet, a list of "
    "these, an array [t h w 3], a tensor [t 3 h w] or a Manifest of its rows"
)


class Item(NamedTuple):
    """One image or one tracklet.

    Attributes:
        label: what it is called in errors.
        frames: not yet read; one of an image.
        tracklet: whether it is a tracklet, be it of one frame.
    """

    label: str
    frames: Sequence[Any]
    tracklet: bool


def items(inputs: Iterable[Any] | Manifest, tracklets: bool = False) -> Iterator[Item]:
    """Images and tracklets, one after another; nothing is read yet.

    Args:
        inputs: of images and tracklets in any order, or a manifest: one item per row.
        tracklets: of a manifest, one item per tracklet, in the order of `Manifest.tracklets`.

    Raises:
        TypeError: inputs is a single image, or an input is nothing that can be one.
        ValueError: a tracklet has no frame, or inputs is no manifest but `tracklets` is set.

    Example:
        >>> [item.label for item in items(["a.jpg", ["b.jpg", "c.jpg"]])]
        ['a.jpg', 'input 1']
    """
    if isinstance(inputs, Manifest):
        yield from _tracklets(inputs) if tracklets else _rows(inputs)
        return
    if tracklets:
        raise ValueError("tracklets=True is for a Manifest; of other inputs, give each tracklet's frames")
    if isinstance(inputs, (str, os.PathLike, Image.Image)):
        raise TypeError(f"inputs is one image, {inputs!r}; expected several: give a list of it")
    for index, value in enumerate(inputs):
        yield _item(index, value)


def read_frame(frame: Any, label: str) -> Tensor:
    """Decode or convert one frame.

    Args:
        frame: a path, a uint8 array [h w 3], a uint8 tensor [3 h w] or a Pillow image.
        label: what it is called in errors.

    Returns:
        uint8 [3 h w] on the CPU.

    Raises:
        UnreadableImage: a file is missing, truncated or no image.
        TypeError: it is nothing of these.
        ValueError: an array or tensor of another shape or type.
    """
    if isinstance(frame, (str, os.PathLike)):
        return read_image(frame)  # type: ignore[arg-type]
    if isinstance(frame, Image.Image):
        try:
            return from_pillow(frame)
        except (OSError, SyntaxError) as error:  # Pillow reads a file's pixels only when they are wanted
            raise UnreadableImage(f"{label}: can't be read as an image ({error})") from error
    if isinstance(frame, np.ndarray):
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
            raise ValueError(f"{label} is an array of {frame.dtype} {frame.shape}; expected uint8 [h w 3]")
        return torch.from_numpy(np.array(frame)).permute(2, 0, 1).contiguous()
    if isinstance(frame, Tensor):
        if frame.dtype != torch.uint8 or frame.ndim != 3 or frame.shape[0] != 3 or not frame.numel():
            raise ValueError(
                f"{label} is a tensor of {frame.dtype} {tuple(frame.shape)}; expected uint8 [3 h w]"
            )
        return frame.cpu()
    raise TypeError(f"{label} is of type {type(frame).__name__}; expected {TAKEN}")


def _rows(manifest: Manifest) -> Iterator[Item]:
    for path in manifest.table["path"].array:  # a path is made when it is wanted, not millions beforehand
        file = f"{manifest.root}/{path}"
        yield Item(file, [file], tracklet=False)


def _tracklets(manifest: Manifest) -> Iterator[Item]:
    paths, ids = manifest.table["path"].array, manifest.table["tracklet"].array
    for rows in manifest.tracklets():
        files = [f"{manifest.root}/{paths[row]}" for row in rows]
        yield Item(f"tracklet {ids[rows[0]]}", files, tracklet=True)


def _item(index: int, value: Any) -> Item:
    label = f"input {index}"
    if isinstance(value, Manifest):
        (*tracklets,) = _tracklets(value)
        if len(tracklets) != 1 or len(tracklets[0].frames) != len(value):
            raise ValueError(f"{label} is {value!r} of {len(tracklets)} tracklets; expected one's rows")
        return tracklets[0]
    pixels = isinstance(value, (np.ndarray, Tensor))
    many = value.ndim == 4 if pixels else isinstance(value, (list, tuple))
    if many and not len(value):
        raise ValueError(f"{label} is a tracklet without frames; expected at least one")
    if many:
        return Item(label, value, tracklet=True)
    return Item(os.fspath(value) if isinstance(value, (str, os.PathLike)) else label, [value], tracklet=False)
