"""Backbones by name: CION's ReIDZoo, small ones of our own, timm's and open_clip's."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple, cast

import timm
from timm.layers import SqueezeExcite
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from reid_core.models.backbones.clip import CLIPEncoder, build_clip
from reid_core.models.backbones.cnn import CNNEncoder, set_last_stride
from reid_core.models.backbones.ibn import to_ibn_a
from reid_core.models.backbones.stems import ConvStem, ICSPatchEmbed, OverlapPatchEmbed
from reid_core.models.backbones.swin import SwinEncoder
from reid_core.models.backbones.vit import ViTEncoder
from reid_core.models.backbones.volo import VOLOEncoder

Encoder = ViTEncoder | CNNEncoder | SwinEncoder | VOLOEncoder | CLIPEncoder

OPEN_CLIP = "open_clip:"
"""What the names of open_clip's models are preceded by."""

# Vision transformers beside timm's own names. Small: for tests, demos and data sets of a thousand images.
VITS: dict[str, dict[str, Any]] = {
    "vit_nano_conv8": {
        "patch_size": 8,
        "embed_dim": 128,
        "depth": 4,
        "num_heads": 4,
        "embed_layer": ConvStem,
    },
    "vit_pico_conv8": {
        "patch_size": 8,
        "embed_dim": 192,
        "depth": 6,
        "num_heads": 3,
        "embed_layer": ConvStem,
    },
    "vit_nano_patch8": {"patch_size": 8, "embed_dim": 128, "depth": 4, "num_heads": 4},
    "vit_pico_patch8": {"patch_size": 8, "embed_dim": 192, "depth": 6, "num_heads": 3},
}


class Published(NamedTuple):
    """One of ReIDZoo's models: the paper's name, timm's, and what the published code sets otherwise."""

    paper: str
    model: str
    options: dict[str, Any] = {}


_GHOST: dict[str, Any] = {"drop_rate": 0.0}
_REPVIT: dict[str, Any] = {"hard_excitation": True}
_RESNET: dict[str, Any] = {"last_stride": 1}
_IBN: dict[str, Any] = {"last_stride": 1, "ibn": True}
_ICS: dict[str, Any] = {"embed_layer": ICSPatchEmbed}
_SWIN: dict[str, Any] = {"window_size": 8}

# Zuo et al., "Cross-video Identity Correlating for Person Re-identification Pre-training" (CION), NeurIPS
# 2024: 32 models of 10 structures, under the names of its code. Where that code departs from the structure's
# own paper, so do these, or its checkpoints would not fit: ResNets keep the last stage's resolution, vision
# transformers have TransReID-SSL's stem, Swin has windows of 8, RepViT a hard sigmoid.
ZOO: dict[str, Published] = {
    "ghostnet_0_5": Published("GhostNet 0.5", "ghostnet_050", _GHOST),
    "ghostnet_1_0": Published("GhostNet 1.0", "ghostnet_100", _GHOST),
    "ghostnet_1_3": Published("GhostNet 1.3", "ghostnet_130", _GHOST),
    "edgenext_x_small": Published("EdgeNeXt x-small", "edgenext_x_small"),
    "edgenext_small": Published("EdgeNeXt small", "edgenext_small"),
    "edgenext_base": Published("EdgeNeXt base", "edgenext_base"),
    "repvit_m0_9": Published("RepViT m0.9", "repvit_m0_9", _REPVIT),
    "repvit_m1_0": Published("RepViT m1.0", "repvit_m1_0", _REPVIT),
    "repvit_m1_5": Published("RepViT m1.5", "repvit_m1_5", _REPVIT),
    "fastvit_s12": Published("FastViT s12", "fastvit_s12"),
    "fastvit_sa12": Published("FastViT sa12", "fastvit_sa12"),
    "fastvit_sa24": Published("FastViT sa24", "fastvit_sa24"),
    "resnet18": Published("ResNet18", "resnet18", _RESNET),
    "resnet50": Published("ResNet50", "resnet50", _RESNET),
    "resnet101": Published("ResNet101", "resnet101", _RESNET),
    "resnet152": Published("ResNet152", "resnet152", _RESNET),
    "resnet18_ibn": Published("ResNet18-IBN", "resnet18", _IBN),
    "resnet50_ibn": Published("ResNet50-IBN", "resnet50", _IBN),
    "resnet101_ibn": Published("ResNet101-IBN", "resnet101", _IBN),
    "resnet152_ibn": Published("ResNet152-IBN", "resnet152", _IBN),
    "convnext_tiny": Published("ConvNeXt tiny", "convnext_tiny"),
    "convnext_small": Published("ConvNeXt small", "convnext_small"),
    "convnext_base": Published("ConvNeXt base", "convnext_base"),
    "vit_tiny": Published("ViT-T", "vit_tiny_patch16_224", _ICS),
    "vit_small": Published("ViT-S", "vit_small_patch16_224", _ICS),
    "vit_base": Published("ViT-B", "vit_base_patch16_224", _ICS),
    "swin_tiny": Published("Swin tiny", "swin_tiny_patch4_window7_224", _SWIN),
    "swin_small": Published("Swin small", "swin_small_patch4_window7_224", _SWIN),
    "swin_base": Published("Swin base", "swin_base_patch4_window7_224", _SWIN),
    "volo_d1": Published("VOLO d1", "volo_d1_224"),
    "volo_d2": Published("VOLO d2", "volo_d2_224"),
    "volo_d3": Published("VOLO d3", "volo_d3_224"),
}


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
        image_size: (height, width) in pixels that position embeddings are made for; other sizes interpolate.
        drop_path: stochastic depth rate.
        options: passed on to the constructor (`depth=2` for a test), but for these. ViT and CLIP: `stride`
            of overlapping patches. ResNet: `last_stride` (1 keeps the last stage's resolution; ReIDZoo's
            default), `ibn` (True for IBN-a). CNN and Swin: `pool` ("avg" or "gem"). Swin: `semantic_weight`
            (SOLIDER). RepViT: `hard_excitation` (ReIDZoo's gates).

    Returns:
        A module `encoder(images [b 3 h w], mask=None) -> Tokens` with `dim`, `patch_size` and
        `grid(image_size)`.

    Raises:
        ValueError: the name is unknown, the model takes no such option, or a vision transformer has no class
            token.

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
    except TypeError as error:  # timm's constructors refuse what they don't know so
        given = {**({"drop_path": drop_path} if drop_path else {}), **options}
        raise ValueError(f"{name} can't be built with {given}: {error}") from error


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
    if model.startswith(("vit_", "deit")):
        settings = _vit_settings(image_size, {**settings, "drop_path_rate": drop_path})
        return ViTEncoder(cast(VisionTransformer, timm.create_model(model, **settings)))
    if model.startswith(("swin_", "volo_")):
        settings |= {"img_size": image_size, "drop_path_rate": drop_path}
    if model.startswith("volo_"):
        return VOLOEncoder(timm.create_model(model, **settings))
    pool = settings.pop("pool", "avg")
    if model.startswith("swin_"):
        # Windows don't shrink on small maps, so that their position tables keep the published size.
        settings |= {"strict_img_size": False, "always_partition": True}
        semantic_weight = settings.pop("semantic_weight", None)
        return SwinEncoder(timm.create_model(model, **settings), pool, semantic_weight)
    last_stride, ibn = settings.pop("last_stride", None), settings.pop("ibn", False)
    hard_excitation = settings.pop("hard_excitation", False)
    if drop_path:
        settings["drop_path_rate"] = drop_path
    cnn = timm.create_model(model, **settings)
    if ibn:
        to_ibn_a(cnn)
    if last_stride is not None:
        set_last_stride(cnn, last_stride)
    if hard_excitation:
        _harden(cnn)
    return CNNEncoder(cnn, pool)


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
