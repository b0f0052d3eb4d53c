"""The names of CION's ReIDZoo and of small vision transformers of our own, with what each is built of."""

from __future__ import annotations

from typing import Any, NamedTuple

from reid_core.models.backbones.stems import ConvStem, ICSPatchEmbed

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
