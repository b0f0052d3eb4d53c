"""A transformer block with adapters and prompts around it; the block itself stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from reid_adapters.backbones import Backbone
from reid_adapters.method import Layer, Place

MASKS = ("attn_mask", "attention_mask")
"""Keywords by which bases pass masks to their blocks."""


class AdaptedBlock(nn.Module):
    """One layer of VSLA (VSLA-CLIP Eqs. 14, 16, 17), or of another method, around a block of the base.

    Called as the base calls its blocks, without frames and platform, it treats each image as a set of one.

    Args:
        block: the base's block.
        backbone: the kind of the base, which knows the block's attention and MLP.
        layers: what to add, by name.
    """

    def __init__(self, block: nn.Module, backbone: Backbone, layers: Mapping[str, Layer]):
        super().__init__()
        self.block = block
        self.backbone = backbone
        self.places: dict[Place, list[str]] = {"attention": [], "mlp": [], "prompts": []}
        for name, layer in layers.items():
            self.add_module(name, layer)
            self.places[layer.place].append(name)
        self.register_load_state_dict_pre_hook(_rename_prompts)

    def forward(
        self,
        tokens: Tensor,
        *masks: Tensor | None,
        frames: int | None = None,
        platform: Tensor | None = None,
        **called: Any,
    ) -> Tensor:
        """One layer.

        Args:
            tokens: [(b t) l width].
            masks: must be None: bases name masks in their calls.
            frames: t, frames per set; None for one.
            platform: int64 [(b t)], the platform of each frame, where there are platform prompts.
            called: what else the base calls its blocks with: positions, and masks, which must be None.

        Returns:
            [(b t) l width].
        """
        if any(mask is not None for mask in (*masks, *map(called.get, MASKS))):
            raise ValueError("attn_mask: adapted blocks take no attention mask")
        positions = called.get(self.backbone.position_argument) if self.backbone.position_argument else None
        prompts = self._prompts(tokens.shape[0], platform)
        attended = tokens + self.backbone.attention(self.block, tokens, prompts, positions)  # Eqs. 11, 17
        for name in self.places["attention"]:
            attended += getattr(self, name)(tokens, frames or 1)  # Eq. 16; in place, for memory's sake
        out = attended + self.backbone.mlp(self.block, attended)  # Eq. 12
        for name in self.places["mlp"]:
            out += getattr(self, name)(attended)  # Eq. 14
        return out

    def layers(self) -> list[nn.Module]:
        """What was added to the block."""
        return [getattr(self, name) for names in self.places.values() for name in names]

    def _prompts(self, images: int, platform: Tensor | None) -> Tensor | None:
        """Prompts [n l width] of all layers that have some."""
        found = []
        for name in self.places["prompts"]:
            layer = getattr(self, name)
            prompts = layer(images, platform)
            if not layer.behind_norm:
                prompts = self.backbone.norm(self.block, prompts)
            found.append(prompts.expand(images, -1, -1))
        return torch.cat(found, dim=1) if found else None


def current_name(name: str) -> str:
    """The name of a weight of an adapted model as it is now, from one of version 0.1.0's files.

    Example:
        >>> current_name("blocks.0.prompts"), current_name("blocks.0.pbp.prompts")
        ('blocks.0.pbp.prompts', 'blocks.0.pbp.prompts')
    """
    parent, _, last = name.rpartition(".")
    old = last == "prompts" and parent.rpartition(".")[2] not in ("pbp", "vpt")
    return f"{parent}.pbp.{last}" if old else name


def _rename_prompts(module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    """Let a state dict of earlier names be loaded."""
    if f"{prefix}prompts" in state:
        state[current_name(f"{prefix}prompts")] = state.pop(f"{prefix}prompts")
