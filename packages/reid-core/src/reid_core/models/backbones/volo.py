"""timm's VOLO as an encoder of any image size."""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import resample_abs_pos_embed_nhwc
from torch import Tensor, nn

from reid_core.models.backbones.geometry import pad_patches, patch_grid
from reid_core.models.backbones.tokens import Tokens, no_mask


class VOLOEncoder(nn.Module):
    """A timm VOLO (Yuan et al., "VOLO: Vision Outlooker for Visual Recognition", TPAMI 2022) with its tokens.

    Position embeddings are interpolated to the size of the image; an image that is no multiple of 16 pixels
    is padded with zeros at its right and bottom.

    Args:
        volo: built with `num_classes=0`.
    """

    has_class_token = True
    takes_mask = False
    volo: Any  # timm's own annotations are narrower than its modules

    def __init__(self, volo: Any):
        super().__init__()
        self.volo = volo
        self.dim: int = volo.num_features
        stride: int = volo.feature_info[-1]["reduction"]
        self.patch_size: tuple[int, int] = (stride, stride)

    @property
    def trunk(self) -> nn.Module:
        """The library's module, whose parameter names published checkpoints are brought to."""
        return self.volo

    def grid(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the patch tokens of an image of that size in pixels."""
        return patch_grid(image_size, self.patch_size[0])

    def forward(self, images: Tensor, mask: Tensor | None = None) -> Tokens:
        """Float [b 3 h w] -> tokens. A mask is an error."""
        no_mask(mask, "a VOLO")
        x = self.volo.patch_embed(pad_patches(images, self.patch_size[0])).permute(0, 2, 3, 1)
        outlook, downsample, *transformers = self.volo.network
        x = downsample(outlook(x))
        height, width = x.shape[1:3]
        x = self.volo.pos_drop(x + resample_abs_pos_embed_nhwc(self.volo.pos_embed, [height, width]))
        for block in transformers:
            x = block(x)
        x = torch.cat([self.volo.cls_token.expand(x.shape[0], -1, -1), x.flatten(1, 2)], dim=1)
        for block in self.volo.post_network:
            x = block(x)
        x = self.volo.norm(x)
        return Tokens(x[:, 0], x[:, 1:], (height, width))
