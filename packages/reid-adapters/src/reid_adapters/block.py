"""A transformer block with adapters and prompts around it; the block itself stays as it is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from reid_adapters.backbones import Backbone
from reid_adapters.cfaa import CFAA
from reid_adapters.config import PBPConfig, VSLAConfig
from reid_adapters.ifa import IFA

PROMPT_STD = 0.02
"""Standard deviation of the prompts' initial truncated normal, that of ViTs' own embeddings."""


class AdaptedBlock(nn.Module):
    """One layer of VSLA (VSLA-CLIP Eqs. 14, 16, 17) around a block of the base.

    Called as the base calls its blocks, without frames and platform, it treats each image as a set of one.

    Args:
        block: the base's block.
        backbone: the kind of the base, which knows the block's attention and MLP.
        width: channels of the tokens.
        config: adapters to add, or None.
        pbp: prompts to add, or None for a layer without.
    """

    def __init__(
        self,
        block: nn.Module,
        backbone: Backbone,
        width: int,
        config: VSLAConfig | None = None,
        pbp: PBPConfig | None = None,
    ):
        super().__init__()
        like = next(block.parameters())
        place: dict[str, Any] = {"device": like.device, "dtype": like.dtype}
        self.block = block
        self.backbone = backbone
        self.ifa = self.cfaa = None
        if config is not None and config.ifa:
            self.ifa = IFA(width, config.bottleneck, config.activation, config.init, **place)
        if config is not None and config.cfaa:
            self.cfaa = CFAA(width, config.bottleneck, config.init, **place)
        self.prompts: nn.Parameter | None = None
        if pbp is not None:
            self.prompts = nn.Parameter(torch.empty(len(pbp.platforms), pbp.length, width, **place))
            nn.init.trunc_normal_(self.prompts, std=PROMPT_STD)

    def forward(
        self,
        tokens: Tensor,
        frames: int | None = None,
        platform: Tensor | None = None,
        attn_mask: Tensor | None = None,
    ) -> Tensor:
        """One layer.

        Args:
            tokens: [(b t) l width].
            frames: t, frames a set; None for one.
            platform: int64 [(b t)], the platform of each frame, where there are prompts.
            attn_mask: must be None; open_clip's transformer names it in its calls.

        Returns:
            [(b t) l width].
        """
        if attn_mask is not None:
            raise ValueError("attn_mask: adapted blocks take no attention mask")
        prompts = None
        if self.prompts is not None:
            if platform is None:
                raise ValueError("platform is needed: this model has platform prompts; call its encoder")
            prompts = self.prompts[platform]
        attended = tokens + self.backbone.attention(self.block, tokens, prompts)  # Eqs. 11, 17
        if self.cfaa is not None:
            attended += self.cfaa(tokens, frames or 1)  # Eq. 16; in place, for memory's sake
        out = attended + self.backbone.mlp(self.block, attended)  # Eq. 12
        if self.ifa is not None:
            out += self.ifa(attended)  # Eq. 14
        return out
