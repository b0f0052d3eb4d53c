"""timm's CNNs as encoders."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from reid_core.models.backbones.geometry import Sizes
from reid_core.models.backbones.pooling import build_pool
from reid_core.models.backbones.tokens import Tokens, no_mask


class CNNEncoder(nn.Module):
    """A timm CNN, or a transformer that returns a map, with its last map as patch tokens, pooled as `cls`.

    What the network does between its map and its classifier (ConvNeXt's norm, GhostNet's last convolution)
    is part of it, and is done to the pooled map and to each position. Networks that cut the image into
    patches get it padded with zeros at its right and bottom to whole ones.

    Args:
        cnn: built by timm with `num_classes=0`; its `forward_features` returns a map [b d h w], or [b h w d]
            with `output_fmt="NHWC"`.
        pool: "avg", or "gem" (see `GeM`).
        sizes: the images that it takes; by default any.
    """

    has_class_token = False
    takes_mask = False
    cnn: Any  # timm's CNNs share no class that has what is used here

    def __init__(self, cnn: Any, pool: str = "avg", sizes: Sizes | None = None):
        super().__init__()
        self.cnn = cnn
        self.pool = build_pool(pool)
        self.dim: int = cnn.head_hidden_size
        stride: int = cnn.feature_info[-1]["reduction"]
        self.patch_size: tuple[int, int] = (stride, stride)
        cuts = any(isinstance(m, nn.Conv2d) and m.stride == m.kernel_size != (1, 1) for m in cnn.modules())
        self.sizes = sizes or Sizes(stride, unit=stride if cuts else 1)
        self.channels_last = getattr(cnn, "output_fmt", None) == "NHWC"

    @property
    def trunk(self) -> nn.Module:
        """The library's module, whose parameter names published checkpoints are brought to."""
        return self.cnn

    def grid(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the last map of an image of that size in pixels."""
        return self.sizes.grid(image_size)

    def forward(self, images: Tensor, mask: Tensor | None = None) -> Tokens:
        """Float [b 3 h w] -> tokens. A map's positions are no patches to hide: a mask is an error."""
        no_mask(mask, f"a {type(self.cnn).__name__}")
        self.grid((images.shape[-2], images.shape[-1]))  # a size that it can't take is an error
        x = self.cnn.forward_features(self.sizes.pad(images))
        if self.channels_last:
            x = x.permute(0, 3, 1, 2)
        batch, channels, height, width = x.shape
        positions = x.permute(0, 2, 3, 1).reshape(-1, channels, 1, 1)
        patches = self._head(positions).view(batch, height * width, self.dim)
        return Tokens(self._head(self.pool(x)), patches, (height, width))

    def _head(self, x: Tensor) -> Tensor:
        """What the network does after its map, without the classifier: float [b c 1 1] -> [b d]."""
        return self.cnn.forward_head(x.permute(0, 2, 3, 1) if self.channels_last else x, pre_logits=True)


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
