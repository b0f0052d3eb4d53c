"""Building a backbone by name: ReIDZoo's, our own small ones, timm's and open_clip's."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import timm
import torch
from timm.layers import SqueezeExcite
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from reid_core.models.backbones.clip import CLIPEncoder, build_clip
from reid_core.models.backbones.cnn import CNNEncoder, set_last_stride
from reid_core.models.backbones.geometry import Sizes
from reid_core.models.backbones.ibn import to_ibn_a
from reid_core.models.backbones.sequence import SequenceEncoder
from reid_core.models.backbones.stems import OverlapPatchEmbed
from reid_core.models.backbones.swin import SwinEncoder
from reid_core.models.backbones.trial import describe, find_reading, try_out
from reid_core.models.backbones.vit import ViTEncoder
from reid_core.models.backbones.volo import VOLOEncoder
from reid_core.models.backbones.zoo import VITS, ZOO, Published

Encoder = ViTEncoder | SequenceEncoder | CNNEncoder | SwinEncoder | VOLOEncoder | CLIPEncoder

OPEN_CLIP = "open_clip:"
"""What the names of open_clip's models are preceded by."""
VIT_MODULES = ("vision_transformer", "vision_transformer_hybrid", "deit", "vitamin")
"""timm's files whose models are its `VisionTransformer`."""
CHANGES = ("last_stride", "ibn", "hard_excitation")
"""Options that change a model after timm has built it."""
WINDOWS = {"strict_img_size": False, "always_partition": True}
"""What timm's Swins are given: images may have any size, and windows don't shrink on small maps, so that
their position tables keep the published size."""
ANY_SIZE = {"dynamic_img_size": True, **WINDOWS}
"""The same of timm's other transformers, as far as their constructors take it."""


def build_backbone(
    name: str,
    image_size: tuple[int, int] = (256, 128),
    *,
    drop_path: float = 0.0,
    **options: Any,
) -> Encoder:
    """A randomly initialised backbone by name; `reid_core.models.weights.load_weights` fills it.

    Args:
        name: a key of `ZOO` (ReIDZoo's 32) or of `VITS`, any timm name (`vit_small_patch16_224`), or
            `open_clip:` and a name of open_clip's (`open_clip:ViT-B-16-quickgelu`, extra `clip`).
        image_size: (height, width) in pixels that position embeddings are made for; other sizes interpolate,
            but for the few structures that take one size alone (README).
        drop_path: stochastic depth rate.
        options: passed on to the constructor (`depth=2` for a test), but for these. ViT and CLIP: `stride`
            of overlapping patches. ResNet: `last_stride` (1 keeps the last stage's resolution; ReIDZoo's
            default), `ibn` (True for IBN-a). Whatever gives a map: `pool` ("avg" or "gem"). Swin:
            `semantic_weight` (SOLIDER). RepViT: `hard_excitation` (ReIDZoo's gates).

    Returns:
        A module `encoder(images [b 3 h w], mask=None) -> Tokens` with `dim`, `patch_size`, `trunk`,
        `grid(image_size)`, `has_class_token` and `takes_mask`.

    Raises:
        ValueError: the name is unknown, the model takes no such option, or it gives no tokens at this size:
            timm's names are tried on the meta device first, and the message says what was wrong.

    Example:
        >>> import torch
        >>> encoder = build_backbone("vit_nano_conv8", (64, 32))
        >>> encoder(torch.zeros(1, 3, 64, 44)).grid
        (8, 6)
        >>> build_backbone("resnet18_ibn").grid((256, 128))
        (16, 8)
    """
    try:
        return _build(name, image_size, drop_path, options)
    except (TypeError, AssertionError) as error:  # so timm's constructors refuse what they can't take
        given = {**({"drop_path": drop_path} if drop_path else {}), **options}
        raise ValueError(f"{name} can't be built with {given}: {describe(error)}") from error


def _build(name: str, image_size: tuple[int, int], drop_path: float, options: Mapping[str, Any]) -> Encoder:
    if name.startswith(OPEN_CLIP):
        if drop_path:
            raise TypeError("open_clip's towers have no stochastic depth")
        return build_clip(name.removeprefix(OPEN_CLIP), image_size, **options)
    if name in VITS:
        settings = {**VITS[name], **options, "drop_path_rate": drop_path}
        return ViTEncoder(VisionTransformer(**_vit_settings(image_size, settings)))
    published = ZOO.get(name, Published("", name))
    model = published.model
    if not timm.is_model(model):
        names = [*ZOO, *timm.list_models()]
        near = ", ".join(difflib.get_close_matches(name, names, n=5, cutoff=0))
        raise ValueError(
            f"no backbone named {name!r}: give one of {', '.join(VITS)}, one that `reid-models list` shows, "
            f"or a timm name, such as {near}"
        )
    settings = {**published.options, **options, "num_classes": 0}
    module = timm.models.model_entrypoint(model).__module__.rpartition(".")[2]
    read: Callable[[Any], Encoder] | None = None
    changes: dict[str, Any] = {}
    if module in VIT_MODULES:
        settings = _vit_settings(image_size, {**settings, "drop_path_rate": drop_path})
        read = ViTEncoder
    elif module == "volo":
        settings |= {"img_size": image_size, "drop_path_rate": drop_path}
        read = VOLOEncoder
    elif module == "swin_transformer":
        pool, weight = settings.pop("pool", "avg"), settings.pop("semantic_weight", None)
        settings |= {"img_size": image_size, "drop_path_rate": drop_path, **WINDOWS}
        read = partial(SwinEncoder, pool=pool, semantic_weight=weight)
    else:
        pool = settings.pop("pool", "avg")
        changes = {change: settings.pop(change) for change in CHANGES if change in settings}
        settings = _other_settings(model, image_size, drop_path, settings)
        read = partial(CNNEncoder, pool=pool) if name in ZOO else None
    trunk = partial(_trunk, model, settings, **changes)
    if read is None:
        read = find_reading(name, trunk, image_size, pool)
    elif name not in ZOO:
        try_out(name, trunk, read, image_size)
    return read(trunk())


def _other_settings(
    model: str, image_size: tuple[int, int], drop_path: float, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Arguments of a timm model of any structure: the image size as far as its constructor takes it."""
    with torch.device("meta"):
        plain: Any = timm.create_model(model, **options)
    parameters = inspect.signature(type(plain).__init__).parameters
    settings = {**{key: value for key, value in ANY_SIZE.items() if key in parameters}, **options}
    if "img_size" in parameters:
        stride = plain.feature_info[-1]["reduction"]
        settings["img_size"] = Sizes(stride, stride).padded_size(image_size)
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    if "drop_path_rate" in parameters or (drop_path and open_ended):
        settings["drop_path_rate"] = drop_path
    elif drop_path:
        raise TypeError(f"{type(plain).__name__} has no stochastic depth")
    return settings


def _trunk(
    model: str,
    settings: Mapping[str, Any],
    last_stride: int | None = None,
    ibn: bool = False,
    hard_excitation: bool = False,
) -> Any:
    trunk = timm.create_model(model, **settings)
    if ibn:
        to_ibn_a(trunk)
    if last_stride is not None:
        set_last_stride(trunk, last_stride)
    if hard_excitation:
        _harden(trunk)
    return trunk


def _vit_settings(image_size: tuple[int, int], options: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of timm's VisionTransformer; those of the patch embedding are bound to it."""
    settings = {
        **options,
        "img_size": image_size,
        "dynamic_img_size": True,
        "dynamic_img_pad": True,
        "num_classes": 0,
    }
    layer = settings.pop("embed_layer", OverlapPatchEmbed if "stride" in settings else None)
    if layer is not None:
        stem = {key: settings.pop(key) for key in layer.OPTIONS if key in settings}
        settings["embed_layer"] = partial(layer, **stem)
    return settings


def _harden(cnn: nn.Module) -> None:
    """Give a timm RepViT's squeeze-excitations the widths and hard sigmoids of ReIDZoo's code, in place."""
    for module in list(cnn.modules()):
        for child_name, child in module.named_children():
            if isinstance(child, SqueezeExcite):
                channels = child.fc1.in_channels
                # A quarter, rounded to a multiple of 4; timm rounds to one of 8.
                width = int(channels / 4 + 2) // 4 * 4
                gate = SqueezeExcite(channels, rd_channels=width, gate_layer="hard_sigmoid")
                setattr(module, child_name, gate)
