"""torchvision's VisionTransformer, known by name: the library itself is not imported."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from reid_adapters.backbones.attention import self_attention
from reid_adapters.backbones.protocol import (
    Backbone,
    Change,
    Rescaled,
    Shape,
    hidden_columns,
    is_a,
    parameters_of,
    qkv_rows,
    with_prompts,
)
from reid_adapters.positions import grid_of, pair_of, resize_positions


def find(model: nn.Module) -> Backbone | None:
    """The backbone of a torchvision VisionTransformer; None for other models."""
    known = is_a(model, "torchvision.models.vision_transformer", "VisionTransformer")
    return TorchvisionViT() if known else None


class TorchvisionViT(Backbone):
    """`torchvision.models.VisionTransformer` with its classifier taken out."""

    lora_targets = {"attention": ("self_attention",), "mlp": ("mlp.0", "mlp.3")}

    def check(self, model: Any, prompts: bool) -> None:
        """Refuse a classifier."""
        if isinstance(getattr(model.heads, "head", None), nn.Linear):
            raise ValueError(
                f"this {type(model).__name__} still has a classifier of {model.heads.head.out_features} "
                "classes, whose logits are no features: set model.heads.head = torch.nn.Identity()"
            )

    def shape(self, model: Any) -> Shape:
        outputs = [layer.out_features for layer in model.heads.modules() if isinstance(layer, nn.Linear)]
        return Shape(model.hidden_dim, [model.hidden_dim, *outputs][-1], pair_of(model.image_size))

    def blocks(self, model: Any) -> nn.Sequential:
        return model.encoder.layers

    def embed(self, model: Any, images: Tensor) -> tuple[Tensor, None]:
        patches = model.conv_proj(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([model.class_token.expand(patches.shape[0], -1, -1), patches], dim=1)
        return model.encoder.dropout(tokens + model.encoder.pos_embedding), None

    def head(self, model: Any, tokens: Tensor) -> Tensor:
        return model.heads(model.encoder.ln(tokens)[:, 0])

    def norm(self, block: Any, tokens: Tensor) -> Tensor:
        return block.ln_1(tokens)

    def attention(self, block: Any, tokens: Tensor, prompts: Tensor | None, positions: None) -> Tensor:
        mixed = self_attention(block.self_attention, with_prompts(block.ln_1(tokens), prompts))
        return block.dropout(mixed[:, : tokens.shape[1]])

    def mlp(self, block: Any, tokens: Tensor) -> Tensor:
        return block.mlp(block.ln_2(tokens))

    def scaling_targets(self, block: Any) -> list[Rescaled]:
        names = parameters_of(block.self_attention, "in_proj_weight", "in_proj_bias")
        return [*qkv_rows("self_attention", block.ln_1.normalized_shape[0], names), hidden_columns("mlp.3")]

    def resize(self, model: Any, image_size: tuple[int, int], stride: tuple[int, int] | None) -> list[Change]:
        patch = pair_of(model.patch_size)
        convolution = model.conv_proj if isinstance(model.conv_proj, nn.Conv2d) else None
        if stride is not None and convolution is None:
            raise ValueError(f"stride {stride}: this {type(model).__name__}'s stem has strides of its own")
        step = patch if convolution is None else pair_of(convolution.stride)
        grid = grid_of(image_size, patch, stride or step)
        old = grid_of(pair_of(model.image_size), patch, step)
        positions = resize_positions(model.encoder.pos_embedding.detach()[0], old, grid)
        changes: list[Change] = [
            (model, "image_size", image_size),
            (model.encoder, "pos_embedding", nn.Parameter(positions[None])),
        ]
        return changes if convolution is None else [*changes, (convolution, "stride", stride or step)]
