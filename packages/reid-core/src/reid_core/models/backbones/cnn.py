"""timm's CNNs as encoders."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from reid_core.models.backbones.geometry import pad_patches, patch_grid
from reid_core.models.backbones.pooling import build_pool
from reid_core.models.backbones.tokens import Tokens, no_mask


class CNNEncoder(nn.Module):
    """A timm CNN that returns its last map as patch tokens and its pooled map as class token.

    What the network does between its map and its classifier (ConvNeXt's norm, GhostNet's last convolution)
    is part of it, and is done to the pooled map and to each position. Networks that cut the image into
    patches get it padded with zeros at its right and bottom to whole ones.

    Args:
        cnn: built by timm with `num_classes=0`.
        pool: "avg", or "gem" (see `GeM`).
    """

    cnn: Any  # timm's CNNs share no class that has what is used here

    def __init__(self, cnn: Any, pool: str = "avg"):
        super().__init__()
        self.cnn = cnn
        self.pool = build_pool(pool)
        self.dim: int = cnn.head_hidden_size
        stride: int = cnn.feature_info[-1]["reduction"]
        self.patch_size: tuple[int, int] = (stride, stride)
        self.cuts = any(
            isinstance(m, nn.Conv2d) and m.stride == m.kernel_size != (1, 1) for m in cnn.modules()
        )

    @property
    def trunk(self) -> nn.Module:
        """The library's module, whose parameter names published checkpoints are brought to."""
        return self.cnn

    def grid(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the last map of an image of that size in pixels."""
        return patch_grid(image_size, self.patch_size[0])

    def forward(self, images: Tensor, mask: Tensor | None = None) -> Tokens:
        """Float [b 3 h w] -> tokens. A CNN has no patch to hide: a mask is an error."""
        no_mask(mask, "a CNN")
        if self.cuts:
            images = pad_patches(images, self.patch_size[0])
        x = self.cnn.forward_features(images)
        batch, channels, height, width = x.shape
        positions = x.permute(0, 2, 3, 1).reshape(-1, channels, 1, 1)
        patches = self.cnn.forward_head(positions, pre_logits=True).view(batch, height * width, self.dim)
        return Tokens(self.cnn.forward_head(self.pool(x), pre_logits=True), patches, (height, width))


def set_last_stride(resnet: Any, stride: int) -> Any:
    """Set the stride of a timm ResNet's last stage, in place; 1 doubles the map's height and width.

    Luo et al., "Bag of Tricks and a Strong Baseline for Deep Person Re-identification", CVPRW 2019, section
    3.4. Parameters are the same at either stride.

    Args:
        resnet: a timm ResNet.
        stride: 1 or 2.

    Returns:
        The same module.

    Raises:
        ValueError: another stride, or a network without `layer4`.
    """
    if stride not in (1, 2) or not hasattr(resnet, "layer4"):
        raise ValueError(f"last_stride={stride} is for ResNets, and 1 or 2")
    block = resnet.layer4[0]
    convolutions = [block.conv2 if hasattr(block, "conv3") else block.conv1]
    convolutions += [m for m in block.downsample.modules() if isinstance(m, nn.Conv2d)]
    for convolution in convolutions:
        convolution.stride = (stride, stride)
    resnet.feature_info[-1]["reduction"] = resnet.feature_info[-2]["reduction"] * stride
    return resnet
