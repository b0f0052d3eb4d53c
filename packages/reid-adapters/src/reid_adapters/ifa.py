"""Intra-Frame Adapter: a bottleneck in parallel with the MLP (VSLA-CLIP Eqs. 13-14)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid_adapters.config import Activation, IFAConfig, Init
from reid_adapters.method import Layer, Method, Site


class IFA(Layer):
    """IFA(x) = GELU(x W_down) W_up, added to the residual stream beside the MLP (VSLA-CLIP Eqs. 13-14).

    It reads the residual stream itself, before the MLP's LayerNorm.

    Args:
        width: channels of the tokens.
        bottleneck: the paper's alpha.
        activation: "gelu" as printed, or "quick_gelu" as released.
        init: "zero" for an up-projection that starts at zero, "torch" for torch's initial weights.

    Example:
        >>> IFA(768, 64)(torch.randn(2, 129, 768)).abs().max().item()
        0.0
    """

    place = "mlp"

    def __init__(
        self,
        width: int,
        bottleneck: int,
        activation: Activation = "gelu",
        init: Init = "zero",
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        self.quick = activation == "quick_gelu"
        self.down = nn.Linear(width, bottleneck, device=device, dtype=dtype)
        self.up = up_projection(bottleneck, width, init, device, dtype)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [n l width] -> what to add to them, [n l width]."""
        hidden = self.down(tokens)
        hidden = hidden * torch.sigmoid(1.702 * hidden) if self.quick else F.gelu(hidden)
        return self.up(hidden)


def up_projection(
    bottleneck: int, width: int, init: Init, device: torch.device | None, dtype: torch.dtype | None
) -> nn.Linear:
    """A linear layer that starts at zero, or as torch would have it.

    Example:
        >>> up_projection(2, 3, "zero", None, None).weight.any().item()
        False
    """
    up = nn.Linear(bottleneck, width, device=device, dtype=dtype)
    if init == "zero":
        nn.init.zeros_(up.weight)
        nn.init.zeros_(up.bias)
    return up


def build_layers(config: IFAConfig, site: Site) -> dict[str, Layer]:
    """The adapter of one block."""
    layer = IFA(site.width, config.bottleneck, config.activation, config.init, site.device, site.dtype)
    return {"ifa": layer}


METHOD = Method(IFAConfig, build_layers)
