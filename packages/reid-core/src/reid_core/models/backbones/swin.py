"""timm's Swin transformers as encoders of any image size, with SOLIDER's semantic control."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from reid_core.models.backbones.geometry import pad_patches, patch_grid
from reid_core.models.backbones.pooling import build_pool
from reid_core.models.backbones.tokens import Tokens, no_mask


class SemanticControl(nn.Module):
    """SOLIDER's semantic controller: scale and shift a map by how semantic the features are to be.

    x -> x * softplus(A [l, 1 - l] + a) + B [l, 1 - l] + c with the semantic weight l in 0..1. Chen et al.,
    "Beyond Appearance: a Semantic Controllable Self-Supervised Learning Framework for Human-Centric Visual
    Tasks", CVPR 2023, section 3.3. Like there, the controller is not trained in fine-tuning.

    Args:
        channels: of the map.
        weight: l; 1 keeps the most semantics, 0 the most appearance (SOLIDER fine-tunes ReID at 0.2).
    """

    def __init__(self, channels: int, weight: float):
        super().__init__()
        self.scale = nn.Linear(2, channels).requires_grad_(False)
        self.shift = nn.Linear(2, channels).requires_grad_(False)
        self.semantic = (weight, 1 - weight)

    def forward(self, x: Tensor) -> Tensor:
        """Float [b h w c] -> the same shape."""
        weight = x.new_tensor(self.semantic)
        return x * functional.softplus(self.scale(weight)) + self.shift(weight)


class SwinEncoder(nn.Module):
    """A timm Swin transformer: the last map's positions as patch tokens, their mean as class token.

    An image that is no multiple of the patch size is padded with zeros at its right and bottom; the window
    size stays the same at any image size, so relative position tables load as published.

    Args:
        swin: built with `strict_img_size=False, always_partition=True, num_classes=0`.
        pool: "avg", or "gem" (see `GeM`).
        semantic_weight: SOLIDER's semantic weight, or None for a plain Swin.
    """

    has_class_token = False
    takes_mask = False
    swin: Any  # timm's own annotations are narrower than its modules

    def __init__(self, swin: Any, pool: str = "avg", semantic_weight: float | None = None):
        super().__init__()
        self.swin = swin
        self.pool = build_pool(pool)
        self.dim: int = swin.num_features
        stride: int = swin.feature_info[-1]["reduction"]
        self.patch_size: tuple[int, int] = (stride, stride)
        # After each downsampling: SOLIDER's controller after the last stage does not reach its features.
        widths = [] if semantic_weight is None else [info["num_chs"] for info in swin.feature_info[1:]]
        swin.semantic = nn.ModuleList(SemanticControl(width, semantic_weight or 0.0) for width in widths)

    @property
    def trunk(self) -> nn.Module:
        """The library's module, whose parameter names published checkpoints are brought to."""
        return self.swin

    def grid(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the last map of an image of that size in pixels."""
        return patch_grid(image_size, self.patch_size[0])

    def forward(self, images: Tensor, mask: Tensor | None = None) -> Tokens:
        """Float [b 3 h w] -> tokens. A mask is an error."""
        no_mask(mask, "a Swin")
        x = self.swin.patch_embed(pad_patches(images, self.swin.patch_embed.patch_size[0]))
        for index, stage in enumerate(self.swin.layers):
            x = stage.downsample(x)
            if index and self.swin.semantic:
                x = self.swin.semantic[index - 1](x)
            x = stage.blocks(x)
        x = self.swin.norm(x)
        pooled = self.pool(x.permute(0, 3, 1, 2)).flatten(1)
        return Tokens(pooled, x.flatten(1, 2), (x.shape[1], x.shape[2]))
