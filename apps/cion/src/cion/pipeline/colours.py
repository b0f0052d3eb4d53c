"""A weight-free extractor: the colours of a person's stripes, for video of which nothing was learned yet."""

from __future__ import annotations

import numpy as np
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

    People before one camera differ in them by their clothes. Cameras differ in them too: see `standardise`.

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


def standardise(features: np.ndarray, videos: np.ndarray) -> np.ndarray:
    """Each video's features to mean 0 and deviation 1, which takes away what the cameras differ in.

    Args:
        features: float [n d].
        videos: int [n].

    Returns:
        float32 [n d].

    Example:
        >>> standardise(np.array([[1.0], [3.0], [10.0], [10.0]]), np.array([0, 0, 1, 1])).tolist()
        [[-1.0], [1.0], [0.0], [0.0]]
    """
    out = np.empty(features.shape, dtype=np.float32)
    for video in np.unique(videos):
        rows = features[videos == video]
        out[videos == video] = (rows - rows.mean(0)) / np.maximum(rows.std(0), np.finfo(np.float32).eps)
    return out
