"""timm's Beit: BEiT and BEiT v2 with relative positions; the library itself is not imported."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from reid_adapters.backbones.protocol import Backbone, Change, is_a, with_prompts
from reid_adapters.backbones.timm_vit import Timm

WINDOW = ("window_size", "window_area", "num_relative_distance")
"""What a table of relative positions knows of its grid."""


def find(model: nn.Module) -> Backbone | None:
    """The backbone of a timm Beit; None for other models."""
    return TimmBeit() if is_a(model, "timm.models.beit", "Beit") else None


class TimmBeit(Timm):
    """`timm.models.Beit`."""

    position_argument = "shared_rel_pos_bias"

    def check_blocks(self, model: Any, prompts: bool) -> None:
        """Refuse prompts where positions are relative."""
        super().check_blocks(model, prompts)
        if prompts and tables(model):
            raise ValueError(
                f"this {type(model).__name__} has a table of relative positions, where prompts have no "
                "place: leave out prompts (PBPConfig, VPTConfig), or make it with absolute positions"
            )

    def embed(self, model: Any, images: Tensor) -> tuple[Tensor, Sequence[Tensor] | None]:
        patches = model.patch_embed(images)
        tokens = torch.cat([model.cls_token.expand(patches.shape[0], -1, -1), patches], dim=1)
        if model.pos_embed is not None:
            tokens = tokens + model.pos_embed
        positions = None if model.rel_pos_bias is None else [model.rel_pos_bias()] * len(model.blocks)
        return model.pos_drop(tokens), positions

    def attention(
        self, block: Any, tokens: Tensor, prompts: Tensor | None, positions: Tensor | None
    ) -> Tensor:
        inputs = with_prompts(block.norm1(tokens), prompts)
        mixed = block.attn(inputs, shared_rel_pos_bias=positions)[:, : tokens.shape[1]]
        return block.drop_path1(mixed if block.gamma_1 is None else block.gamma_1 * mixed)

    def mlp(self, block: Any, tokens: Tensor) -> Tensor:
        mixed = block.mlp(block.norm2(tokens))
        return block.drop_path2(mixed if block.gamma_2 is None else block.gamma_2 * mixed)

    def resize(self, model: Any, image_size: tuple[int, int], stride: tuple[int, int] | None) -> list[Change]:
        changes = super().resize(model, image_size, stride)
        grid = next(value for _, name, value in changes if name == "grid_size")
        for table in tables(model):
            other = copy.deepcopy(table)
            other.set_window_size(grid)
            names = [name for name in WINDOW if hasattr(other, name)]
            names += ["relative_position_bias_table", "relative_position_index"]
            changes += [(table, name, getattr(other, name)) for name in names]
        return changes


def tables(model: Any) -> list[Any]:
    """Modules of a Beit that hold a table of relative positions."""
    held = [model.rel_pos_bias, *(block.attn for block in model.blocks)]
    return [module for module in held if getattr(module, "relative_position_bias_table", None) is not None]
