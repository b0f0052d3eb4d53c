"""Trying timm's models on the meta device: how to read one, which images it takes, or what is wrong."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from reid_core.models.backbones.cnn import CNNEncoder
from reid_core.models.backbones.geometry import Sizes
from reid_core.models.backbones.sequence import SequenceEncoder

BATCH = 2
"""Images of a trial: more than one, so that mixed-up axes show."""
EMBEDDINGS = ("patch_embed", "embeds.norm")
"""Where timm's transformers have their patch embeddings, before positions and other tokens join them."""

Size = tuple[int, int]


def try_out(name: str, trunk: Callable[[], Any], read: Callable[[Any], Any], image_size: Size) -> None:
    """Refuse a model that gives no tokens at an image size, tried on shapes alone.

    Args:
        name: as `build_backbone` takes it, for the message.
        trunk: builds the model on the current device.
        read: makes an encoder of it.
        image_size: (height, width) in pixels.

    Raises:
        ValueError: it fails, or returns something else; the message says what was wrong.
    """
    with torch.device("meta"):
        if found := _fault(read(_build(name, trunk, image_size)), image_size):
            raise _refusal(name, found)


def find_reading(
    name: str, trunk: Callable[[], Any], image_size: Size, pool: str
) -> Callable[[Any], CNNEncoder | SequenceEncoder]:
    """How a timm model of any structure is made an encoder, found on shapes alone.

    The rank of what `forward_features` returns tells a map from a sequence. Three ways to feed the model are
    tried in turn: images as they are (CNNs), padded to whole patches, and padded at this one size alone.

    Args:
        name: as `build_backbone` takes it, for the message.
        trunk: builds the model on the current device.
        image_size: (height, width) in pixels.
        pool: for maps, as `CNNEncoder` takes it.

    Returns:
        What makes an encoder of the model.

    Raises:
        ValueError: no way gives tokens; the message says what was wrong with the last.
    """
    with torch.device("meta"):
        model = _build(name, trunk, image_size)
        if not getattr(model, "feature_info", None):
            raise _refusal(name, "it doesn't say how much it reduces an image (timm's feature_info)")
        stride = model.feature_info[-1]["reduction"]
        whole = Sizes(stride, stride)
        if _rank(name, model, whole, image_size) == 3:
            if pool != "avg":
                raise TypeError(f"pool={pool} is for maps, and {type(model).__name__} gives a sequence")
            sizes = _find_sizes(name, SequenceEncoder(model, whole), image_size)
            return partial(SequenceEncoder, sizes=sizes, embedding=_find_embedding(model, sizes, image_size))
        sizes = _find_sizes(name, CNNEncoder(model, pool), image_size)
        return partial(CNNEncoder, pool=pool, sizes=sizes)


def describe(error: Exception) -> str:
    """An exception in one line: its own, or the line of code that failed where it has none."""
    lines = str(error).splitlines()
    return lines[0] if lines else traceback.extract_tb(error.__traceback__)[-1].line or type(error).__name__


def _build(name: str, trunk: Callable[[], Any], image_size: Size) -> Any:
    """The model in eval mode; a TypeError is left to the caller, who knows the options."""
    try:
        return trunk().eval()
    except TypeError:
        raise
    except Exception as error:
        raise _refusal(name, _failure(error, image_size)) from error


def _rank(name: str, model: Any, whole: Sizes, image_size: Size) -> int:
    """Dimensions of the model's features: 4 of a map, 3 of a sequence."""
    try:
        with torch.no_grad():
            x = model.forward_features(torch.empty(BATCH, 3, *whole.padded_size(image_size)))
    except Exception as error:
        raise _refusal(name, _failure(error, image_size)) from error
    if not isinstance(x, Tensor) or x.ndim not in (3, 4):
        kind = f"a tensor {tuple(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
        raise _refusal(name, f"its features are {kind}, expected a map [b d h w] or a sequence [b n d]")
    return x.ndim


def _find_sizes(name: str, encoder: CNNEncoder | SequenceEncoder, image_size: Size) -> Sizes:
    """The images that an encoder takes: the first of three guesses that proves right."""
    stride = encoder.sizes.stride
    whole = Sizes(stride, stride)
    # Half a patch more in each direction: no whole number of patches, and another grid.
    height, width = whole.padded_size(image_size)
    other = (height + stride // 2 + 1, width + stride // 2 + 1)
    for sizes in (encoder.sizes, whole, whole._replace(only=(height, width))):
        encoder.sizes = sizes
        fault = _fault(encoder, image_size)
        if not fault and (sizes.only or not _fault(encoder, other)):
            return sizes
    raise _refusal(name, fault)


def _find_embedding(model: Any, sizes: Sizes, image_size: Size) -> str | None:
    """Name of the module that returns one embedding per patch token, where patches can be hidden."""
    modules = dict(model.named_modules())
    names = [name for name in EMBEDDINGS if name in modules]
    return next(
        (n for n in names if not _fault(SequenceEncoder(model, sizes, n), image_size, hide=True)), None
    )


def _fault(encoder: Any, image_size: Size, hide: bool = False) -> str:
    """What is wrong with an encoder at an image size; nothing where its tokens are as it promises."""
    try:
        height, width = encoder.grid(image_size)
        mask = torch.zeros(BATCH, height * width, dtype=torch.bool) if hide else None
        with torch.no_grad():
            tokens = encoder(torch.empty(BATCH, 3, *image_size), mask)
    except Exception as error:
        return _failure(error, image_size)
    shapes = [tuple(tokens.patches.shape), tuple(tokens.grid), tuple(tokens.cls.shape)]
    expected = [(BATCH, height * width, encoder.dim), (height, width), (BATCH, encoder.dim)]
    if shapes == expected:
        return ""
    size = f"{image_size[0]}x{image_size[1]}"
    return f"on images of {size} patch tokens, grid and global feature are {shapes}, expected {expected}"


def _failure(error: Exception, image_size: Size) -> str:
    return f"it fails on images of {image_size[0]}x{image_size[1]} ({describe(error)})"


def _refusal(name: str, fault: str) -> ValueError:
    return ValueError(f"{name} can't be used as a backbone: {fault}. Choose another name or image size")
