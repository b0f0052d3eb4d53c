"""The kinds of vision transformer that adapters attach to by themselves."""

from __future__ import annotations

from torch import nn

from reid_adapters.backbones.open_clip_vit import OpenClipViT
from reid_adapters.backbones.protocol import Backbone, Change, Shape
from reid_adapters.backbones.timm_vit import TimmViT

__all__ = ["Backbone", "Change", "OpenClipViT", "Shape", "TimmViT", "backbone_of"]


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
    if OpenClipViT.matches(model):
        return OpenClipViT()
    if TimmViT.matches(model):
        return TimmViT()
    raise TypeError(
        f"{type(model).__name__} is neither an open_clip nor a timm VisionTransformer (of a CLIP model give "
        ".visual); for another model give attach(..., backbone=) an object with Backbone's methods"
    )
