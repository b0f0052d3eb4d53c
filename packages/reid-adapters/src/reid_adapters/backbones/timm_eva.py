"""timm's Eva: EVA, EVA-02, DINOv3 and others with rotary positions; the library itself is not imported."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from reid_adapters.backbones.protocol import Backbone, Change, is_a, with_prompts
from reid_adapters.backbones.timm_vit import Timm, post_norm


def find(model: nn.Module) -> Backbone | None:
    """The backbone of a timm Eva; None for other models."""
    return TimmEva() if is_a(model, "timm.models.eva", "Eva") else None


class TimmEva(Timm):
    """`timm.models.Eva`. Prompts have no place in the image: they are not rotated."""

    position_argument = "rope"

    def embed(self, model: Any, images: Tensor) -> tuple[Tensor, Sequence[Tensor] | None]:
        tokens, rope = model._pos_embed(model.patch_embed(images))
        tokens = model.norm_pre(tokens)
        if rope is None:
            return tokens, None
        # Mixed rotary positions are learnt for each block and head: [depth h n d].
        return tokens, list(rope) if model.rope_mixed else [rope] * len(model.blocks)

    def norm(self, block: Any, tokens: Tensor) -> Tensor:
        return tokens if post_norm(block) else block.norm1(tokens)

    def attention(
        self, block: Any, tokens: Tensor, prompts: Tensor | None, positions: Tensor | None
    ) -> Tensor:
        count, after = tokens.shape[1], post_norm(block)
        inputs = with_prompts(tokens if after else block.norm1(tokens), prompts)
        mixed = block.attn(inputs, rope=pad_rotation(positions, inputs.shape[1] - count))[:, :count]
        if after:
            return block.drop_path1(block.norm1(mixed))
        return block.drop_path1(mixed if block.gamma_1 is None else block.gamma_1 * mixed)

    def mlp(self, block: Any, tokens: Tensor) -> Tensor:
        if post_norm(block):
            return block.drop_path2(block.norm2(block.mlp(tokens)))
        mixed = block.mlp(block.norm2(tokens))
        return block.drop_path2(mixed if block.gamma_2 is None else block.gamma_2 * mixed)

    def resize(self, model: Any, image_size: tuple[int, int], stride: tuple[int, int] | None) -> list[Change]:
        changes = super().resize(model, image_size, stride)
        rope = model.rope
        if rope is None or getattr(rope, "feat_shape", None) is None:
            return changes
        grid = next(value for _, name, value in changes if name == "grid_size")
        other = copy.deepcopy(rope)
        other.update_feat_shape(grid)
        changes += [(rope, name, buffer) for name, buffer in other.named_buffers(recurse=False)]
        return [*changes, (rope, "feat_shape", grid)]


def pad_rotation(rope: Tensor | None, count: int) -> Tensor | None:
    """Sines and cosines with so many rows more that rotate nothing.

    Args:
        rope: [... n (2 d)], sines beside cosines; None for none.
        count: how many more.

    Returns:
        [... (n + count) (2 d)].

    Example:
        >>> pad_rotation(torch.zeros(5, 4), 2)[-1].tolist()
        [0.0, 0.0, 1.0, 1.0]
    """
    if rope is None or not count:
        return rope
    half = rope.shape[-1] // 2
    rest = torch.cat([rope.new_zeros(half), rope.new_ones(half)])
    return torch.cat([rope, rest.expand(*rope.shape[:-2], count, -1)], dim=-2)
