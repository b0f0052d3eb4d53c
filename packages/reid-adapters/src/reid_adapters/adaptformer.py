"""AdaptFormer: a scaled bottleneck beside each MLP (Chen et al., NeurIPS 2022), for comparison."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid_adapters.config import AdaptFormerConfig
from reid_adapters.ifa import up_projection
from reid_adapters.method import Layer, Method, Site


class AdaptFormer(Layer):
    """s ReLU(LN(x') W_down) W_up, added beside the MLP (Chen et al., Eqs. 4-5).

    The LayerNorm is its own and trained, as where the authors' code has one in front of the bottleneck; their
    settings for images leave it out.

    Args:
        width: channels of the tokens.
        bottleneck: channels between the projections.
        scale: the paper's s.

    Example:
        >>> AdaptFormer(768, 64, 0.1)(torch.randn(2, 129, 768)).abs().max().item()
        0.0
    """

    place = "mlp"

    def __init__(
        self,
        width: int,
        bottleneck: int,
        scale: float,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        self.scale = scale
        self.norm = nn.LayerNorm(width, device=device, dtype=dtype)
        self.down = nn.Linear(width, bottleneck, device=device, dtype=dtype)
        # LoRA's initial values, as in the paper: Kaiming's below, zeros above.
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        nn.init.zeros_(self.down.bias)
        self.up = up_projection(bottleneck, width, "zero", device, dtype)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [n l width] -> what to add to them, [n l width]."""
        return self.scale * self.up(F.relu(self.down(self.norm(tokens))))


def build_layers(config: AdaptFormerConfig, site: Site) -> dict[str, Layer]:
    """The bottleneck of one block."""
    layer = AdaptFormer(site.width, config.bottleneck, config.scale, site.device, site.dtype)
    return {"adaptformer": layer}


METHOD = Method(AdaptFormerConfig, build_layers)
