"""open_clip's VisionTransformer, known by its parts: the library itself is not imported."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from reid_adapters.backbones.protocol import Change, Shape, with_prompts
from reid_adapters.positions import grid_of, resize_positions


class OpenClipViT:
    """`open_clip.transformer.VisionTransformer` with residual blocks, such as `clip.visual`."""

    lora_targets: dict[str, tuple[str, ...]] = {"attention": ("attn",), "mlp": ("mlp.c_fc", "mlp.c_proj")}

    @staticmethod
    def matches(model: Any) -> bool:
        """Whether a model has the parts used here."""
        return all(
            hasattr(model, name)
            for name in ("conv1", "positional_embedding", "transformer", "ln_post", "_embeds", "_pool")
        ) and all(hasattr(block, "ls_1") for block in model.transformer.resblocks)

    def shape(self, model: Any) -> Shape:
        width = model.conv1.out_channels
        features = width if model.proj is None else model.proj.shape[1]
        return Shape(width, features, tuple(model.image_size))

    def blocks(self, model: Any) -> nn.ModuleList:
        return model.transformer.resblocks

    def embed(self, model: Any, images: Tensor) -> Tensor:
        return model._embeds(images)

    def head(self, model: Any, tokens: Tensor) -> Tensor:
        pooled, _ = model._pool(tokens)
        return pooled if model.proj is None else pooled @ model.proj

    def attention(self, block: Any, tokens: Tensor, prompts: Tensor | None) -> Tensor:
        inputs = with_prompts(block.ln_1(tokens), prompts)
        if type(block.attn) is nn.MultiheadAttention:
            mixed = self_attention(block.attn, inputs)
        elif hasattr(block, "attention"):  # such as one with LoRA
            # Laid out as torch's attention takes it: otherwise it multiplies frozen weights image by image.
            mixed = block.attention(inputs.transpose(0, 1).contiguous().transpose(0, 1))
        else:  # blocks with open_clip's own attention normalise behind it and have no method for it
            mixed = block.ln_attn(block.attn(inputs))
        return block.ls_1(mixed[:, : tokens.shape[1]])

    def mlp(self, block: Any, tokens: Tensor) -> Tensor:
        return block.ls_2(block.mlp(block.ln_2(tokens)))

    def resize(self, model: Any, image_size: tuple[int, int], stride: tuple[int, int] | None) -> list[Change]:
        stride = stride or model.conv1.stride
        grid = grid_of(image_size, model.conv1.kernel_size, stride)
        positions = resize_positions(model.positional_embedding.detach(), tuple(model.grid_size), grid)
        return [
            (model.conv1, "stride", stride),
            (model, "positional_embedding", nn.Parameter(positions)),
            (model, "grid_size", grid),
            (model, "image_size", image_size),
        ]


def self_attention(attention: nn.MultiheadAttention, tokens: Tensor) -> Tensor:
    """What torch's attention gives for tokens [n l width] that attend to themselves, without its copies.

    torch lays queries, keys and values out anew before the product and the result after it: a fifth of a
    step's time on a GPU.

    Example:
        >>> import torch
        >>> attention, tokens = nn.MultiheadAttention(8, 2, batch_first=True), torch.randn(3, 5, 8)
        >>> torch.allclose(self_attention(attention, tokens), attention(tokens, tokens, tokens)[0], atol=1e-6)
        True
    """
    qkv = F.linear(tokens, attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = rearrange(qkv, "n l (three h c) -> three n h l c", three=3, h=attention.num_heads)
    dropout = attention.dropout if attention.training else 0.0
    mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
    return attention.out_proj(rearrange(mixed, "n h l c -> n l (h c)"))
