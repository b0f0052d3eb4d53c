"""open_clip's VisionTransformer, known by name: the library itself is not imported."""

from __future__ import annotations

from typing import Any

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
from reid_adapters.positions import grid_of, resize_positions


def find(model: nn.Module) -> Backbone | None:
    """The backbone of an open_clip VisionTransformer; None for other models."""
    return OpenClipViT() if is_a(model, "open_clip.transformer", "VisionTransformer") else None


class OpenClipViT(Backbone):
    """`open_clip.transformer.VisionTransformer`, such as `clip.visual`."""

    lora_targets = {"attention": ("attn",), "mlp": ("mlp.c_fc", "mlp.c_proj")}

    def check(self, model: Any, prompts: bool) -> None:
        """Refuse towers that return tokens, and patches left out at random."""
        if model.pool_type == "none":
            raise ValueError(
                f"this {type(model).__name__} pools nothing (pool_type 'none', as in CoCa's \"parallel\" and "
                '"cascade" pooling): it returns tokens, no feature; make it with pool_type "tok" or "avg"'
            )
        refuse_patch_dropout(model, model.patch_dropout, "patch_dropout")

    def shape(self, model: Any) -> Shape:
        width = model.conv1.out_channels
        features = width if model.proj is None else model.proj.shape[1]
        return Shape(width, features, tuple(model.image_size))

    def blocks(self, model: Any) -> nn.ModuleList:
        return model.transformer.resblocks

    def embed(self, model: Any, images: Tensor) -> tuple[Tensor, None]:
        return model._embeds(images), None

    def head(self, model: Any, tokens: Tensor) -> Tensor:
        pooled = self.pool(model, tokens)
        return pooled if model.proj is None else pooled @ model.proj

    def pool(self, model: Any, tokens: Tensor) -> Tensor:
        return model._pool(tokens)[0]

    def class_token(self, model: Any, tokens: Tensor) -> Tensor:
        return tokens[:, 0]

    def norm(self, block: Any, tokens: Tensor) -> Tensor:
        return block.ln_1(tokens)

    def attention(self, block: Any, tokens: Tensor, prompts: Tensor | None, positions: None) -> Tensor:
        inputs = with_prompts(block.ln_1(tokens), prompts)
        if hasattr(block, "attention"):
            mixed = self_attention(block.attn, inputs)
        else:  # blocks with open_clip's own attention normalise behind it and have no method for it
            mixed = block.ln_attn(block.attn(inputs))
        return block.ls_1(mixed[:, : tokens.shape[1]])

    def mlp(self, block: Any, tokens: Tensor) -> Tensor:
        return block.ls_2(block.mlp(block.ln_2(tokens)))

    def scaling_targets(self, block: Any) -> list[Rescaled]:
        names = parameters_of(block.attn, "in_proj_weight", "in_proj_bias")
        return [*qkv_rows("attn", block.ln_1.normalized_shape[0], names), hidden_columns("mlp.c_proj")]

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


def refuse_patch_dropout(model: nn.Module, layer: nn.Module | None, option: str) -> None:
    """Raise ValueError for a model that leaves patches out of each frame at random.

    Example:
        >>> refuse_patch_dropout(nn.Linear(2, 2), nn.Dropout(), "patch_dropout")
        Traceback (most recent call last):
        ValueError: this Linear leaves out other patches of each frame (patch_dropout): attention across
        frames compares tokens at the same place; make it with patch_dropout 0
    """
    if layer is not None and not isinstance(layer, nn.Identity):
        raise ValueError(
            f"this {type(model).__name__} leaves out other patches of each frame ({option}): attention "
            f"across frames compares tokens at the same place; make it with {option} 0"
        )
