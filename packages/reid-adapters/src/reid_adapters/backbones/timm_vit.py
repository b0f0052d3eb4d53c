"""timm's VisionTransformer, known by name: the library itself is not imported."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from reid_adapters.backbones.open_clip_vit import refuse_patch_dropout
from reid_adapters.backbones.protocol import (
    Backbone,
    Change,
    Rescaled,
    Shape,
    hidden_columns,
    is_a,
    layer_rows,
    parameters_of,
    qkv_rows,
    with_prompts,
)
from reid_adapters.positions import grid_of, resize_positions

MODULE = "timm.models.vision_transformer"
PARALLEL = ("ParallelScalingBlock", "DiffParallelScalingBlock")
"""Blocks whose attention and MLP share their projections."""


def find(model: nn.Module) -> Backbone | None:
    """The backbone of a timm VisionTransformer; None for other models."""
    return TimmViT() if is_a(model, MODULE, "VisionTransformer") else None


class Timm(Backbone):
    """What timm's transformers have in common: names, classifiers and patch embeddings.

    Their head is the model's own; a classifier in it is refused, for logits are no features.
    """

    lora_targets = {
        "attention": ("attn.qkv", "attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.proj"),
        "mlp": ("mlp.fc1", "mlp.fc1_g", "mlp.fc1_x", "mlp.fc2"),
    }

    def check(self, model: Any, prompts: bool) -> None:
        """Refuse classifiers, models that pool nothing, and patches left out at random."""
        if model.num_classes:
            raise ValueError(
                f"this {type(model).__name__} still has a classifier of {model.num_classes} classes, whose "
                "logits are no features: call model.reset_classifier(0), or make it with num_classes=0"
            )
        self.check_blocks(model, prompts)

    def check_blocks(self, model: Any, prompts: bool) -> None:
        """Refuse all but a classifier, which may be CLIP's projection."""
        if not model.global_pool:
            raise ValueError(
                f"this {type(model).__name__} pools nothing (global_pool ''): it returns tokens, no feature; "
                'make it with global_pool "token" or "avg"'
            )
        refuse_patch_dropout(model, getattr(model, "patch_drop", None), "patch_drop_rate")

    def shape(self, model: Any) -> Shape:
        return Shape(
            model.embed_dim, model.num_classes or model.num_features, tuple(model.patch_embed.img_size)
        )

    def blocks(self, model: Any) -> nn.Sequential | nn.ModuleList:
        return model.blocks

    def norm(self, block: Any, tokens: Tensor) -> Tensor:
        return block.norm1(tokens)

    def head(self, model: Any, tokens: Tensor) -> Tensor:
        return model.forward_head(model.norm(tokens))

    def scaling_targets(self, block: Any) -> list[Rescaled]:
        attention, width = block.attn, block.norm1.normalized_shape[0]
        if attention.qkv is None:
            return [*layer_rows(block, key="attn.k_proj", value="attn.v_proj"), hidden_columns("mlp.fc2")]
        found = qkv_rows("attn.qkv", width, parameters_of(attention.qkv))
        if getattr(attention, "v_bias", None) is not None:  # keys have none there
            found.append(Rescaled("attn", "v_bias", 0, {"value": slice(None)}))
        return [*found, hidden_columns("mlp.fc2")]

    def linear_calls(self, model: Any) -> list[Change]:
        attentions = [getattr(block, "attn", None) for block in model.blocks]
        return [
            (attention, "qkv_bias_separate", True)
            for attention in attentions
            if hasattr(attention, "qkv_bias_separate")
        ]

    def resize(self, model: Any, image_size: tuple[int, int], stride: tuple[int, int] | None) -> list[Change]:
        patch_embed = model.patch_embed
        if hasattr(patch_embed, "backbone"):
            changes, grid = resize_hybrid(patch_embed, image_size, stride)
        else:
            stride = stride or patch_embed.proj.stride
            grid = grid_of(image_size, patch_embed.proj.kernel_size, stride)
            changes = [(patch_embed.proj, "stride", stride)]
        changes += [
            (patch_embed, "img_size", image_size),
            (patch_embed, "grid_size", grid),
            (patch_embed, "num_patches", grid[0] * grid[1]),
        ]
        if model.pos_embed is not None:
            prefix = 0 if getattr(model, "no_embed_class", False) else model.num_prefix_tokens
            old = tuple(patch_embed.grid_size)
            positions = resize_positions(model.pos_embed.detach()[0], old, grid, prefix)
            changes.append((model, "pos_embed", nn.Parameter(positions[None])))
        return changes


class TimmViT(Timm):
    """`timm.models.VisionTransformer`: DeiT, DINO, DINOv2, MAE, AugReg, CLIP, SigLIP, hybrid stems, ..."""

    def check_blocks(self, model: Any, prompts: bool) -> None:
        """Refuse blocks whose attention and MLP can't be told apart."""
        super().check_blocks(model, prompts)
        kind = type(model.blocks[0]).__name__
        if kind in PARALLEL:
            raise ValueError(
                f"this {type(model).__name__} is of {kind}s, whose attention and MLP run at once and share "
                "their projections: there is no x' between them for adapters to read (VSLA-CLIP Eq. 12)"
            )
        if not is_a(model.blocks[0], MODULE, "Block", "ResPostBlock", "ParallelThingsBlock"):
            raise ValueError(
                f"this {type(model).__name__} is of {kind}s, which are not timm's own: give "
                "attach(..., backbone=) an object that knows them"
            )

    def embed(self, model: Any, images: Tensor) -> tuple[Tensor, None]:
        return model.norm_pre(model._pos_embed(model.patch_embed(images))), None

    def norm(self, block: Any, tokens: Tensor) -> Tensor:
        if hasattr(block, "attns"):
            raise ValueError(
                "a ParallelThingsBlock has a norm of its own for each of its attentions: prompts can't "
                "pass one before them, as VPTConfig's do"
            )
        return tokens if post_norm(block) else block.norm1(tokens)

    def attention(self, block: Any, tokens: Tensor, prompts: Tensor | None, positions: None) -> Tensor:
        count = tokens.shape[1]
        if hasattr(block, "attns"):
            branches = (
                (branch, branch.attn(with_prompts(branch.norm(tokens), prompts))) for branch in block.attns
            )
            return sum(branch.drop_path(branch.ls(mixed[:, :count])) for branch, mixed in branches)
        if post_norm(block):
            return block.drop_path1(block.norm1(block.attn(with_prompts(tokens, prompts))[:, :count]))
        mixed = block.attn(with_prompts(block.norm1(tokens), prompts))[:, :count]
        return block.drop_path1(block.ls1(mixed))

    def mlp(self, block: Any, tokens: Tensor) -> Tensor:
        if hasattr(block, "ffns"):
            return sum(branch(tokens) for branch in block.ffns)
        if post_norm(block):
            return block.drop_path2(block.norm2(block.mlp(tokens)))
        return block.drop_path2(block.ls2(block.mlp(block.norm2(tokens))))

    def scaling_targets(self, block: Any) -> list[Rescaled]:
        if hasattr(block, "attns"):
            raise ValueError("a ParallelThingsBlock has several attentions: (IA)^3 is not defined for them")
        return super().scaling_targets(block)


def post_norm(block: nn.Module) -> bool:
    """Whether a block normalises behind its attention and MLP."""
    return type(block).__name__ in ("ResPostBlock", "EvaBlockPostNorm")


def resize_hybrid(
    patch_embed: Any, image_size: tuple[int, int], stride: tuple[int, int] | None
) -> tuple[list[Change], tuple[int, int]]:
    """What to set in a hybrid stem for another image size, and its grid.

    Args:
        patch_embed: timm's HybridEmbed.
        image_size: (height, width), multiples of the stem's stride.
        stride: must be None: the stem's strides are what it was trained with.

    Raises:
        ValueError: a stride is asked for, or the size is no multiple.
    """
    if stride is not None:
        raise ValueError(f"stride {stride}: this {type(patch_embed).__name__}'s stem has strides of its own")
    ratio = patch_embed.feat_ratio(as_scalar=False)
    grid = grid_of(image_size, ratio, ratio)
    feature_size = tuple(cells * patch for cells, patch in zip(grid, patch_embed.patch_size, strict=True))
    return [(patch_embed, "feature_size", feature_size)], grid
