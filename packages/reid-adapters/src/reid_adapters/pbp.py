"""Platform-Bridge Prompt: prompts of each platform for the first layers (VSLA-CLIP 4.4, Eq. 17)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reid_adapters.config import PBPConfig
from reid_adapters.method import Layer, Method, Site

PROMPT_STD = 0.02
"""Standard deviation of the prompts' initial truncated normal, that of ViTs' own embeddings."""


class PBP(Layer):
    """[h : p_k] of Eq. 17: tokens of an image's platform that a layer's attention sees and forgets.

    Args:
        platforms: how many.
        length: the paper's l.
        width: channels of the tokens.

    Example:
        >>> PBP(platforms=2, length=16, width=768)(3, torch.tensor([0, 1, 1])).shape
        torch.Size([3, 16, 768])
    """

    place = "prompts"

    def __init__(
        self,
        platforms: int,
        length: int,
        width: int,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        self.prompts = nn.Parameter(torch.empty(platforms, length, width, device=device, dtype=dtype))
        nn.init.trunc_normal_(self.prompts, std=PROMPT_STD)

    def forward(self, images: int, platform: Tensor | None) -> Tensor:
        """Platforms int64 [n] -> prompts [n l width].

        Raises:
            ValueError: no platform is given.
        """
        if platform is None:
            raise ValueError("platform is needed: this model has platform prompts; call its encoder")
        return self.prompts[platform]


def build_layers(config: PBPConfig, site: Site) -> dict[str, Layer]:
    """Prompts of one block, if it is among the first `depth`."""
    if site.number >= config.depth:
        return {}
    return {"pbp": PBP(len(config.platforms), config.length, site.width, site.device, site.dtype)}


METHOD = Method(PBPConfig, build_layers, prompts=True)
