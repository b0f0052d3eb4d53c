"""timm's VisionTransformer, known by its parts: the library itself is not imported."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from reid_adapters.backbones.protocol import Change, Shape, with_prompts
from reid_adapters.positions import grid_of, resize_positions


class TimmViT:
    """`timm.models.VisionTransformer` with pre-norm blocks: DeiT, DINO, DINOv2, MAE, AugReg, CLIP and others.

    Its head is the model's own; a classifier in it is refused, for logits are no features.
    """

    lora_targets: dict[str, tuple[str, ...]] = {
        "attention": ("attn.qkv", "attn.proj"),
        "mlp": ("mlp.fc1", "mlp.fc2"),
    }

    @staticmethod
    def matches(model: Any) -> bool:
        """Whether a model has the parts used here."""
        return all(
            hasattr(model, name)
            for name in ("patch_embed", "pos_embed", "blocks", "norm_pre", "forward_head", "_pos_embed")
        ) and all(hasattr(block, "drop_path2") and hasattr(block, "ls2") for block in model.blocks)

    def shape(self, model: Any) -> Shape:
        if model.num_classes:
            raise ValueError(
                f"this {type(model).__name__} still has a classifier of {model.num_classes} classes, whose "
                "logits are no features: call model.reset_classifier(0), or make it with num_classes=0"
            )
        return Shape(model.embed_dim, model.num_features, tuple(model.patch_embed.img_size))

    def blocks(self, model: Any) -> nn.Sequential:
        return model.blocks

    def embed(self, model: Any, images: Tensor) -> Tensor:
        return model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(images))))

    def head(self, model: Any, tokens: Tensor) -> Tensor:
        return model.forward_head(model.norm(tokens))

    def attention(self, block: Any, tokens: Tensor, prompts: Tensor | None) -> Tensor:
        mixed = block.attn(with_prompts(block.norm1(tokens), prompts))[:, : tokens.shape[1]]
        return block.drop_path1(block.ls1(mixed))

    def mlp(self, block: Any, tokens: Tensor) -> Tensor:
        return block.drop_path2(block.ls2(block.mlp(block.norm2(tokens))))

    def resize(self, model: Any, image_size: tuple[int, int], stride: tuple[int, int] | None) -> list[Change]:
        patch_embed = model.patch_embed
        stride = stride or patch_embed.proj.stride
        grid = grid_of(image_size, patch_embed.proj.kernel_size, stride)
        changes: list[Change] = [
            (patch_embed.proj, "stride", stride),
            (patch_embed, "img_size", image_size),
            (patch_embed, "grid_size", grid),
            (patch_embed, "num_patches", grid[0] * grid[1]),
        ]
        if model.pos_embed is not None:
            prefix = 0 if model.no_embed_class else model.num_prefix_tokens
            old = tuple(patch_embed.grid_size)
            positions = resize_positions(model.pos_embed.detach()[0], old, grid, prefix)
            changes.append((model, "pos_embed", nn.Parameter(positions[None])))
        return changes
