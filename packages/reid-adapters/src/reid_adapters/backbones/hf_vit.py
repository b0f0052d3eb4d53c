"""transformers' ViTModel and Dinov2Model; the library itself is not imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from reid_adapters.backbones.hugging_face import HuggingFace, flatten_patches, resize_patches
from reid_adapters.backbones.protocol import (
    Backbone,
    Change,
    Rescaled,
    Shape,
    hidden_columns,
    is_a,
    layer_rows,
)
from reid_adapters.positions import pair_of


def find(model: nn.Module) -> Backbone | None:
    """The backbone of a ViTModel or Dinov2Model; None for other models."""
    if is_a(model, "transformers.models.vit.modeling_vit", "ViTModel"):
        return HuggingFaceViT()
    if is_a(model, "transformers.models.dinov2.modeling_dinov2", "Dinov2Model"):
        return HuggingFaceDinov2()
    return None


class HuggingFaceViT(HuggingFace):
    """`transformers.ViTModel`: features by its pooler where it has one, else the class token."""

    lora_targets = {
        "attention": ("attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.o_proj"),
        "mlp": ("mlp.fc1", "mlp.fc2"),
    }
    attention_name, norm1, norm2 = "attention", "layernorm_before", "layernorm_after"

    def shape(self, model: Any) -> Shape:
        patches, pooler = model.embeddings.patch_embeddings, getattr(model, "pooler", None)
        width = patches.projection.out_channels
        features = width if pooler is None else pooler.dense.out_features
        return Shape(width, features, pair_of(patches.image_size))

    def blocks(self, model: Any) -> nn.ModuleList:
        return model.layers

    def embed(self, model: Any, images: Tensor) -> tuple[Tensor, Sequence[Any] | None]:
        embeddings = model.embeddings
        patches = flatten_patches(embeddings.patch_embeddings.projection(images))
        tokens = torch.cat([embeddings.cls_token.expand(patches.shape[0], -1, -1), patches], dim=1)
        return embeddings.dropout(tokens + embeddings.position_embeddings), None

    def head(self, model: Any, tokens: Tensor) -> Tensor:
        tokens = model.layernorm(tokens)
        pooler = getattr(model, "pooler", None)
        return tokens[:, 0] if pooler is None else pooler(tokens)

    def attention(self, block: Any, tokens: Tensor, prompts: Tensor | None, positions: Any) -> Tensor:
        return block.dropout(super().attention(block, tokens, prompts, positions))

    def mlp(self, block: Any, tokens: Tensor) -> Tensor:
        return block.dropout(super().mlp(block, tokens))

    def scaling_targets(self, block: Any) -> list[Rescaled]:
        return [
            *layer_rows(block, key="attention.k_proj", value="attention.v_proj"),
            hidden_columns("mlp.fc2"),
        ]

    def resize(self, model: Any, image_size: tuple[int, int], stride: tuple[int, int] | None) -> list[Change]:
        embeddings, patches = model.embeddings, model.embeddings.patch_embeddings
        changes, positions = resize_patches(
            patches.projection,
            embeddings.position_embeddings[0],
            pair_of(patches.image_size),
            image_size,
            stride,
            prefix=1,
        )
        changes += [
            (embeddings, "position_embeddings", nn.Parameter(positions[None])),
            (patches, "image_size", image_size),
        ]
        # ViT's embeddings keep a size of their own, Dinov2's read that of the patches.
        return (
            [*changes, (embeddings, "image_size", image_size)]
            if hasattr(embeddings, "image_size")
            else changes
        )


class HuggingFaceDinov2(HuggingFaceViT):
    """`transformers.Dinov2Model`: its class token."""

    lora_targets = {
        "attention": HuggingFaceViT.lora_targets["attention"],
        "mlp": ("mlp.fc1", "mlp.fc2", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
    }
    norm1, norm2 = "norm1", "norm2"

    def blocks(self, model: Any) -> nn.ModuleList:
        return model.encoder.layer

    def attention(self, block: Any, tokens: Tensor, prompts: Tensor | None, positions: Any) -> Tensor:
        mixed = HuggingFace.attention(self, block, tokens, prompts, positions)
        return block.drop_path(block.layer_scale1(mixed))

    def mlp(self, block: Any, tokens: Tensor) -> Tensor:
        return block.drop_path(block.layer_scale2(HuggingFace.mlp(self, block, tokens)))

    def scaling_targets(self, block: Any) -> list[Rescaled]:
        second = "mlp.fc2" if hasattr(block.mlp, "fc2") else "mlp.down_proj"
        return [*layer_rows(block, key="attention.k_proj", value="attention.v_proj"), hidden_columns(second)]
