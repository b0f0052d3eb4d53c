"""Global pooling of feature maps."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GeM(nn.Module):
    """Generalised-mean pooling, (mean x^p)^(1/p): p = 1 is the average, p -> infinity the maximum.

    Radenovic et al., "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2019, eq. 3.

    Args:
        p: exponent at the start; it is learned.
        eps: smallest value that is raised to p, since negative ones have no real power.

    Example:
        >>> x = torch.tensor([1.0, 3.0]).view(1, 1, 1, 2)
        >>> GeM(p=1.0)(x).item(), round(GeM(p=200.0)(x).item(), 2)
        (2.0, 2.99)
    """

    def __init__(self, p: float = 3.0, eps: float = 1e-6):
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Float [b c h w] -> [b c 1 1], in single precision."""
        x = x.float().clamp(min=self.eps)
        # Powers of the ratio to the largest value, so that no p overflows.
        top = x.amax((2, 3), keepdim=True)
        return top * (x / top).pow(self.p).mean((2, 3), keepdim=True).pow(1 / self.p)


def build_pool(name: str) -> nn.Module:
    """Module from [b c h w] to [b c 1 1] by name: "avg" or "gem"."""
    if name not in ("avg", "gem"):
        raise ValueError(f'no pooling named {name!r}: give "avg" or "gem"')
    return GeM() if name == "gem" else nn.AdaptiveAvgPool2d(1)
