"""The kinds of vision transformer that adapters attach to by themselves, and those refused by name."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

from torch import nn

from reid_adapters.backbones.protocol import Backbone

BACKBONES = {
    "open_clip VisionTransformer": "reid_adapters.backbones.open_clip_vit",
    "open_clip TimmModel": "reid_adapters.backbones.open_clip_timm",
    "timm VisionTransformer": "reid_adapters.backbones.timm_vit",
    "timm Eva": "reid_adapters.backbones.timm_eva",
    "timm Beit": "reid_adapters.backbones.timm_beit",
    "torchvision VisionTransformer": "reid_adapters.backbones.torchvision_vit",
    "transformers CLIPVisionModel, SiglipVisionModel": "reid_adapters.backbones.hf_clip",
    "transformers ViTModel, Dinov2Model": "reid_adapters.backbones.hf_vit",
    "transformers DINOv3ViTModel": "reid_adapters.backbones.hf_dinov3",
}
"""Kinds of models and the modules whose `find` knows them."""

GROUP = "reid_adapters.backbones"
"""Group of entry points by which other distributions add kinds; they are asked first."""

WINDOWS = (
    "attends within windows whose tokens move from layer to layer, so that a token has no place of its own"
)
CONVOLUTIONS = "is a convolutional network: it has no tokens and no blocks of attention and MLP"
REFUSED = {
    "SwinTransformer": WINDOWS,
    "SwinTransformerV2": WINDOWS,
    "SwinModel": WINDOWS,
    "Hiera": WINDOWS,
    "VisionTransformerSAM": "attends within windows of a map of tokens [b h w c], not over a sequence",
    "Cait": "mixes attention heads and has class-attention layers, in which patches stay as they are",
    "Xcit": "attends over channels instead of tokens, and mixes neighbouring patches in each block",
    "NaFlexVit": "takes batches of patches of images of several sizes: frames' tokens don't match by place",
    "VOLO": "has outlook attention over a map before its transformer blocks",
    "ModifiedResNet": CONVOLUTIONS,
    "ResNet": CONVOLUTIONS,
    "ConvNeXt": CONVOLUTIONS,
}
"""Classes that are no transformers of one sequence of blocks, and why."""


def backbone_of(model: nn.Module) -> Backbone:
    """The kind of a vision transformer.

    Raises:
        TypeError: it is none of those known.

    Example:
        >>> import timm
        >>> model = timm.create_model("vit_tiny_patch16_224", depth=1, num_classes=0)
        >>> type(backbone_of(model)).__name__
        'TimmViT'
    """
    finders = [entry.load() for entry in entry_points(group=GROUP)]
    finders += [import_module(module).find for module in BACKBONES.values()]
    for find in finders:
        backbone: Backbone | None = find(model)
        if backbone is not None:
            return backbone
    name = type(model).__name__
    trunk = type(getattr(model, "trunk", None)).__name__
    for kind in (name, trunk):
        if kind in REFUSED:
            raise TypeError(f"{kind} can't be adapted: it {REFUSED[kind]}")
    raise TypeError(
        f"{name} is none of {'; '.join(BACKBONES)} (of a CLIP model give .visual); for another model give "
        "attach(..., backbone=) an object of a class derived from Backbone"
    )
