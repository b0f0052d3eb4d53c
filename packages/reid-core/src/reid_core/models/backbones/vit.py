"""timm's vision transformers with access to their tokens, at any image size."""

from __future__ import annotations

from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from reid_core.models.backbones.tokens import Tokens, split_sequence


class ViTEncoder(nn.Module):
    """A timm vision transformer of any image size that returns its tokens.

    Position embeddings are interpolated to the size of the image; an image that is no multiple of the patch
    size (VILLS' 64x44 frames at patch 16) is padded with zeros at its right and bottom. Masked patches are
    replaced by a learnable token after the patch embedding, as in iBOT (Zhou et al., 2022).

    Args:
        vit: built with `dynamic_img_size=True, dynamic_img_pad=True, num_classes=0`; with or without a class
            token, register tokens, a distillation token.
    """

    takes_mask = True

    def __init__(self, vit: VisionTransformer):
        super().__init__()
        self.vit = vit
        self.has_class_token: bool = vit.has_class_token
        self.dim: int = vit.embed_dim
        self.patch_size: tuple[int, int] = tuple(vit.patch_embed.patch_size)
        self.mask_token = nn.Parameter(torch.zeros(self.dim))

    @property
    def trunk(self) -> nn.Module:
        """The library's module, whose parameter names published checkpoints are brought to."""
        return self.vit

    def grid(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the patch tokens of an image of that size in pixels."""
        return self.vit.patch_embed.dynamic_feat_size(image_size)

    def forward(self, images: Tensor, mask: Tensor | None = None, side: Tensor | None = None) -> Tokens:
        """
        Args:
            images: float [b 3 h w], normalised.
            mask: bool [b n], True where a patch is hidden, or None.
            side: float [b d], added to every token with its position (TransReID's side information), or None.
        """
        return self.last(*self.before_last(images, mask, side))

    def before_last(
        self, images: Tensor, mask: Tensor | None = None, side: Tensor | None = None
    ) -> tuple[Tensor, tuple[int, int]]:
        """All but the last block: [b p+n d] with p prefix tokens, and the grid (TransReID branches there)."""
        x = self.vit.patch_embed(images)
        batch, height, width, _ = x.shape
        if mask is not None:
            x = torch.where(mask.view(batch, height, width, 1), self.mask_token.to(x.dtype), x)
        x = self.vit._pos_embed(x)
        if side is not None:
            x = x + side[:, None]
        x = self.vit.norm_pre(x)
        # On a CPU, torch's fused attention is slow backwards in bfloat16: two products alone are 2x faster.
        fused = images.device.type != "cpu" or not torch.is_autocast_enabled("cpu")
        block: Any
        for block in self.vit.blocks:
            block.attn.fused_attn = fused
        for block in self.vit.blocks[:-1]:
            x = block(x)
        return x, (height, width)

    def last(self, x: Tensor, grid: tuple[int, int]) -> Tokens:
        """The last block and the norm, on what `before_last` returns."""
        return split_sequence(self.vit, self.vit.norm(self.vit.blocks[-1](x)), grid)

    @torch.no_grad()
    def class_attention(self, images: Tensor) -> Tensor:
        """Attention of the class token to the patches in the last block, [b heads h w]; sums are <= 1.

        Raises:
            ValueError: the transformer has no class token.
        """
        if not self.has_class_token:
            raise ValueError(
                "this vision transformer has no class token whose attention could be shown: choose another"
            )
        seen: dict[str, Tensor] = {}
        attention: Any = self.vit.blocks[-1].attn
        handle = attention.register_forward_pre_hook(lambda _, args: seen.update(x=args[0]))
        try:
            tokens = self(images)
        finally:
            handle.remove()
        x = seen["x"]
        heads = attention.num_heads
        qkv = attention.qkv(x).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = attention.q_norm(qkv[0]), attention.k_norm(qkv[1])
        weights = (q[:, :, :1] @ k.transpose(-1, -2) * attention.scale).softmax(-1)
        return weights[:, :, 0, self.vit.num_prefix_tokens :].unflatten(-1, tokens.grid)
