"""A weight-free extractor: the colours of a person's stripes, for images of which nothing was learned yet."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIPES = 16
"""Horizontal stripes, each a little narrower than a head."""
MARGIN = 0.2
"""Part of the width left out on each side, which shows the place rather than the person."""
OPPONENT = ((1 / 3, 1 / 3, 1 / 3), (1 / 2, -1 / 2, 0.0), (1 / 4, 1 / 4, -1 / 2))
"""Brightness, red against green, yellow against blue."""


class StripeColours(nn.Module):
    """Mean opponent colours of horizontal stripes: images [b 3 h w] -> [b 3*stripes].

    People in one camera differ in them by their clothes. Cameras differ in them too, by their light: see
    `within_cameras`.

    Example:
        >>> StripeColours()(torch.zeros(2, 3, 48, 24)).shape
        torch.Size([2, 48])
    """

    opponent: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("opponent", torch.tensor(OPPONENT))

    def forward(self, images: Tensor) -> Tensor:
        width = images.shape[-1]
        side = int(MARGIN * width)
        stripes = functional.adaptive_avg_pool2d(images[..., side : width - side], (STRIPES, 1)).squeeze(-1)
        return (self.opponent @ stripes).flatten(1)
