"""transformers' CLIP and SigLIP vision towers; the library itself is not imported."""

from __future__ import annotations

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
    """The backbone of a CLIPVisionModel, with its projection too, or a SiglipVisionModel; None for others."""
    if is_a(
        model, "transformers.models.clip.modeling_clip", "CLIPVisionModel", "CLIPVisionModelWithProjection"
    ):
        return HuggingFaceCLIP()
    if is_a(model, "transformers.models.siglip.modeling_siglip", "SiglipVisionModel"):
        return HuggingFaceSiglip()
    return None


class HuggingFaceCLIP(HuggingFace):
    """`transformers.CLIPVisionModel` and `CLIPVisionModelWithProjection`, whose features are projected."""

    lora_targets = {
        "attention": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"),
        "mlp": ("mlp.fc1", "mlp.fc2"),
    }
    attention_name, norm1, norm2 = "self_attn", "layer_norm1", "layer_norm2"

    def shape(self, model: Any) -> Shape:
        embeddings = tower_of(model).embeddings
        features = getattr(model, "visual_projection", None)
        width = embeddings.patch_embedding.out_channels
        return Shape(
            width, width if features is None else features.out_features, pair_of(embeddings.image_size)
        )

    def blocks(self, model: Any) -> nn.ModuleList:
        return tower_of(model).encoder.layers

    def embed(self, model: Any, images: Tensor) -> tuple[Tensor, None]:
        tower = tower_of(model)
        patches = flatten_patches(tower.embeddings.patch_embedding(images))
        tokens = torch.cat([tower.embeddings.class_embedding.expand(patches.shape[0], 1, -1), patches], dim=1)
        return tower.pre_layrnorm(tokens + tower.embeddings.position_embedding.weight), None

    def head(self, model: Any, tokens: Tensor) -> Tensor:
        pooled = tower_of(model).post_layernorm(tokens[:, 0])
        return model.visual_projection(pooled) if hasattr(model, "visual_projection") else pooled

    def scaling_targets(self, block: Any) -> list[Rescaled]:
        return [
            *layer_rows(block, key="self_attn.k_proj", value="self_attn.v_proj"),
            hidden_columns("mlp.fc2"),
        ]

    def resize(self, model: Any, image_size: tuple[int, int], stride: tuple[int, int] | None) -> list[Change]:
        return resize_embeddings(tower_of(model).embeddings, image_size, stride, prefix=1)


class HuggingFaceSiglip(HuggingFaceCLIP):
    """`transformers.SiglipVisionModel`: no class token, features by attentional pooling."""

    def check(self, model: Any, prompts: bool) -> None:
        """Refuse a tower without its pooling."""
        if not model.use_head:
            raise ValueError(
                f"this {type(model).__name__} has no pooling head (vision_use_head): it gives tokens alone"
            )

    def embed(self, model: Any, images: Tensor) -> tuple[Tensor, None]:
        patches = flatten_patches(model.embeddings.patch_embedding(images))
        return patches + model.embeddings.position_embedding.weight, None

    def head(self, model: Any, tokens: Tensor) -> Tensor:
        return model.head(model.post_layernorm(tokens))

    def resize(self, model: Any, image_size: tuple[int, int], stride: tuple[int, int] | None) -> list[Change]:
        return resize_embeddings(model.embeddings, image_size, stride, prefix=0)


def tower_of(model: Any) -> Any:
    """The vision tower of a model with a projection, or the model itself."""
    return getattr(model, "vision_model", model)


def resize_embeddings(
    embeddings: Any, image_size: tuple[int, int], stride: tuple[int, int] | None, prefix: int
) -> list[Change]:
    """What to set in CLIP's or SigLIP's embeddings for another image size or stride.

    Args:
        embeddings: with patch_embedding and position_embedding.
        image_size: (height, width) wanted.
        stride: from patch to patch; None for its own.
        prefix: positions of class tokens in front.
    """
    table = embeddings.position_embedding
    changes, positions = resize_patches(
        embeddings.patch_embedding,
        table.weight,
        pair_of(embeddings.image_size),
        image_size,
        stride,
        prefix,
    )
    ids = torch.arange(len(positions), device=positions.device)[None]
    return [
        *changes,
        (table, "weight", nn.Parameter(positions)),
        (embeddings, "position_ids", ids),
        (embeddings, "image_size", image_size),
    ]
