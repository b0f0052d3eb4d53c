"""IBN-a: half of a residual block's first normalisation is by instance, which removes style."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class IBN(nn.Module):
    """Instance normalisation of the first half of the channels, batch normalisation of the rest.

    Pan et al., "Two at Once: Enhancing Learning and Generalization Capacities via IBN-Net", ECCV 2018. The
    parts are named as in its published checkpoints (`IN`, `BN`).

    Args:
        channels: of the map; the instance-normalised half is rounded down.

    Example:
        >>> IBN(64)(torch.randn(2, 64, 8, 4)).shape
        torch.Size([2, 64, 8, 4])
    """

    def __init__(self, channels: int):
        super().__init__()
        self.instance = channels // 2
        self.IN = nn.InstanceNorm2d(self.instance, affine=True)
        self.BN = nn.BatchNorm2d(channels - self.instance)

    def forward(self, x: Tensor) -> Tensor:
        """Float [b c h w] -> the same shape."""
        return torch.cat([self.IN(x[:, : self.instance]), self.BN(x[:, self.instance :])], dim=1)


def to_ibn_a(resnet: Any) -> Any:
    """Turn a randomly initialised timm ResNet into its IBN-a variant, in place.

    IBN-a normalises the first convolution of each block in layers 1 to 3; layer 4 is left alone, since
    instance statistics would remove what identities differ in (Pan et al. 2018, section 3.2).

    Args:
        resnet: a timm ResNet with blocks that have `bn1`.

    Returns:
        The same module.
    """
    for layer in (resnet.layer1, resnet.layer2, resnet.layer3):
        for block in layer:
            block.bn1 = IBN(block.bn1.num_features)
    return resnet
