"""transformers' DINOv3ViTModel: rotary positions and registers; the library itself is not imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from reid_adapters.backbones.hf_vit import HuggingFaceDinov2
from reid_adapters.backbones.protocol import Backbone, Change, Shape, is_a, with_prompts
from reid_adapters.positions import grid_of, pair_of

Rope = tuple[Tensor, Tensor]
"""Cosines and sines of the patches' angles, [n d] each."""


def find(model: nn.Module) -> Backbone | None:
    """The backbone of a DINOv3ViTModel; None for other models."""
    known = is_a(model, "transformers.models.dinov3_vit.modeling_dinov3_vit", "DINOv3ViTModel")
    return HuggingFaceDinov3() if known else None


class HuggingFaceDinov3(HuggingFaceDinov2):
    """`transformers.DINOv3ViTModel`: its class token.

    Prompts have no place in the image: they are not rotated.
    """

    lora_targets = {
        "attention": HuggingFaceDinov2.lora_targets["attention"],
        "mlp": ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
    }
    position_argument = "position_embeddings"

    def shape(self, model: Any) -> Shape:
        width = model.embeddings.patch_embeddings.out_channels
        return Shape(width, width, pair_of(model.config.image_size))

    def blocks(self, model: Any) -> nn.ModuleList:
        return model.model.layer

    def embed(self, model: Any, images: Tensor) -> tuple[Tensor, Sequence[Rope]]:
        return model.embeddings(images), [model.rope_embeddings(images)] * len(self.blocks(model))

    def head(self, model: Any, tokens: Tensor) -> Tensor:
        return model.norm(tokens)[:, 0]

    def attention(self, block: Any, tokens: Tensor, prompts: Tensor | None, positions: Rope) -> Tensor:
        inputs = with_prompts(block.norm1(tokens), prompts)
        rope = pad_rotation(positions, inputs.shape[1] - tokens.shape[1])
        mixed, _ = block.attention(inputs, position_embeddings=rope)
        return block.drop_path(block.layer_scale1(mixed[:, : tokens.shape[1]]))

    def resize(self, model: Any, image_size: tuple[int, int], stride: tuple[int, int] | None) -> list[Change]:
        patch = model.embeddings.patch_embeddings.kernel_size
        if stride not in (None, patch):
            raise ValueError(
                f"stride {stride}: the rotary positions of {type(model).__name__} are of patches side by side"
            )
        grid_of(image_size, patch, patch)
        return [(model.config, "image_size", image_size)]


def pad_rotation(rope: Rope, count: int) -> Rope:
    """Cosines and sines with so many rows more that rotate nothing.

    Example:
        >>> cosines, sines = pad_rotation((torch.zeros(5, 4), torch.zeros(5, 4)), 2)
        >>> cosines[-1].tolist(), sines[-1].tolist()
        ([1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0])
    """
    cosines, sines = rope
    if not count:
        return rope
    width = cosines.shape[-1]
    return (
        torch.cat([cosines, cosines.new_ones(count, width)]),
        torch.cat([sines, sines.new_zeros(count, width)]),
    )
