"""VPT-deep: prompts in front of each layer (Jia et al., ECCV 2022), for comparison."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from reid_adapters.config import VPTConfig
from reid_adapters.method import Layer, Method, Site


class VPT(Layer):
    """[x_i, _, E_i] = L_i([x_{i-1}, P_{i-1}, E_{i-1}]): tokens that join a layer's input (Jia et al., Eq. 7).

    The layer's outputs at the prompts are dropped, so all that they do is be seen by its attention, behind
    its LayerNorm; where they stand in the sequence makes no difference.

    Args:
        length: how many.
        width: channels of the tokens.

    Example:
        >>> VPT(length=50, width=768)(3).shape
        torch.Size([1, 50, 768])
    """

    place, behind_norm = "prompts", False

    def __init__(
        self, length: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ):
        super().__init__()
        self.prompts = nn.Parameter(torch.empty(1, length, width, device=device, dtype=dtype))
        # The released code's Xavier bound has a patch's values as fan-in: the width of a ViT-B/16.
        bound = math.sqrt(6 / (2 * width))
        nn.init.uniform_(self.prompts, -bound, bound)

    def forward(self, images: int, platform: Tensor | None = None) -> Tensor:
        """Any number of images -> prompts [1 l width] of all of them."""
        return self.prompts


def build_layers(config: VPTConfig, site: Site) -> dict[str, Layer]:
    """Prompts of one block."""
    return {"vpt": VPT(config.length, site.width, site.device, site.dtype)}


METHOD = Method(VPTConfig, build_layers, prompts=True)
