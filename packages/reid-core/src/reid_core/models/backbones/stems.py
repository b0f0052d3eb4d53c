"""Patch embeddings for timm's `embed_layer` slot: convolutional, overlapping, and TransReID-SSL's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.layers import to_2tuple
from torch import Tensor, nn

from reid_core.models.backbones.geometry import pad_patches, patch_grid
from reid_core.models.backbones.ibn import IBN


class _PatchEmbed(nn.Module):
    """Geometry of square patches: what timm's VisionTransformer asks of its patch embedding.

    Images are padded as `geometry.pad_patches` does.

    Args:
        img_size: (height, width) the position embeddings are made for, in pixels.
        patch_size: side of a patch in pixels.
        stride: pixels from a patch to the next.
    """

    proj: nn.Module

    def __init__(self, img_size: int | tuple[int, int], patch_size: int, stride: int):
        super().__init__()
        if not 0 < stride <= patch_size:
            raise ValueError(
                f"stride={stride} is not in 1..{patch_size}, the patch size: pixels would be lost"
            )
        self.img_size: tuple[int, int] = to_2tuple(img_size)
        self.patch_size: tuple[int, int] = (patch_size, patch_size)
        self.stride = stride
        self.grid_size = self.dynamic_feat_size(self.img_size)
        self.num_patches = self.grid_size[0] * self.grid_size[1]

    def dynamic_feat_size(self, img_size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the tokens of an image of that size, padding counted in."""
        return patch_grid(img_size, self.patch_size[0], self.stride)

    def feat_ratio(self, as_scalar: bool = True) -> int | tuple[int, int]:
        """Pixels per token."""
        return self.stride if as_scalar else (self.stride, self.stride)

    def pad(self, x: Tensor) -> Tensor:
        """Float [b 3 h w] -> the same with whole patches."""
        return pad_patches(x, self.patch_size[0], self.stride)

    def forward(self, x: Tensor) -> Tensor:
        """Float [b 3 h w] -> [b h' w' d]."""
        return self.proj(self.pad(x)).permute(0, 2, 3, 1)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around an identity path (He et al., 2016)."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.body(x))


class ConvStem(_PatchEmbed):
    """A convolutional patch embedding.

    Each stage halves the resolution; the patch size is 2 ** stages. Convolutions in place of one linear patch
    projection let a ViT learn from few images (Xiao et al., "Early Convolutions Help Transformers See
    Better", 2021). An image that is no multiple of the patch size is padded at its right and bottom with
    zeros.

    Args:
        img_size: (height, width) the position embeddings are made for, in pixels.
        patch_size: stride of the whole stem in pixels, a power of two.
        in_chans: channels of the image.
        embed_dim: channels of a token.
        widths: channels after each stage, one a halving.
        blocks: residual blocks after each stage.
    """

    OPTIONS = ("widths", "blocks")

    def __init__(
        self,
        img_size: int | tuple[int, int] = (128, 64),
        patch_size: int = 8,
        in_chans: int = 3,
        embed_dim: int = 192,
        widths: Sequence[int] = (32, 64, 128),
        blocks: Sequence[int] = (0, 1, 1),
        **_: Any,
    ):
        super().__init__(img_size, patch_size, patch_size)
        if 2 ** len(widths) != patch_size:
            raise ValueError(
                f"widths has {len(widths)} stages, so the patch size is {2 ** len(widths)}, "
                f"but patch_size={patch_size} was asked for"
            )
        layers: list[nn.Module] = []
        for width, count in zip(widths, blocks, strict=True):
            layers += [
                nn.Conv2d(in_chans, width, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
                *(ResidualBlock(width) for _ in range(count)),
            ]
            in_chans = width
        self.proj = nn.Sequential(*layers, nn.Conv2d(in_chans, embed_dim, 1))


class OverlapPatchEmbed(_PatchEmbed):
    """A linear patch embedding whose stride is smaller than its patches, so that neighbours share pixels.

    He et al., "TransReID: Transformer-based Object Re-Identification", ICCV 2021, eq. 2: an H x W image has
    floor((H - P) / S + 1) x floor((W - P) / S + 1) patches of side P at stride S. Same parameters as timm's.

    Args:
        img_size: (height, width) the position embeddings are made for, in pixels.
        patch_size: side of a patch in pixels.
        in_chans: channels of the image.
        embed_dim: channels of a token.
        bias: whether the projection has one.
        stride: pixels from a patch to the next (TransReID: 12 for patches of 16).

    Example:
        >>> OverlapPatchEmbed((256, 128), stride=12).grid_size
        (21, 10)
    """

    OPTIONS = ("stride",)

    def __init__(
        self,
        img_size: int | tuple[int, int] = (256, 128),
        patch_size: int = 16,
        in_chans: int = 3,
        embed_dim: int = 768,
        bias: bool = True,
        stride: int = 12,
        **_: Any,
    ):
        super().__init__(img_size, patch_size, stride)
        self.proj = nn.Conv2d(in_chans, embed_dim, patch_size, stride=stride, bias=bias)


class ICSPatchEmbed(_PatchEmbed):
    """TransReID-SSL's IBN-based convolution stem (ICS), which CION's vision transformers have too.

    Three convolutions at half resolution, the first two normalised by IBN, then the patch projection. Luo et
    al., "Self-Supervised Pre-Training for Transformer-Based Person Re-Identification", 2021, section 3.3; the
    parts are named as in its published checkpoints.

    Args:
        img_size: (height, width) the position embeddings are made for, in pixels.
        patch_size: side of a patch in pixels, even.
        in_chans: channels of the image.
        embed_dim: channels of a token.
        stride: pixels from a patch to the next, even; None for the patch size.

    Example:
        >>> ICSPatchEmbed((32, 16), 16, embed_dim=24)(torch.zeros(1, 3, 32, 16)).shape
        torch.Size([1, 2, 1, 24])
    """

    OPTIONS = ("stride",)
    WIDTH = 64

    def __init__(
        self,
        img_size: int | tuple[int, int] = (256, 128),
        patch_size: int = 16,
        in_chans: int = 3,
        embed_dim: int = 384,
        stride: int | None = None,
        **_: Any,
    ):
        stride = patch_size if stride is None else stride
        super().__init__(img_size, patch_size, stride)
        if patch_size % 2 or stride % 2:
            raise ValueError(
                f"patch_size={patch_size} and stride={stride} must be even: the stem's first convolution "
                "halves the image"
            )
        width = self.WIDTH
        self.conv = nn.Sequential(
            nn.Conv2d(in_chans, width, 7, stride=2, padding=3, bias=False),
            IBN(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            IBN(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.proj = nn.Conv2d(width, embed_dim, patch_size // 2, stride=stride // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Float [b 3 h w] -> [b h' w' d]."""
        height, width = self.dynamic_feat_size((x.shape[-2], x.shape[-1]))
        # Halving rounds an odd side up, which may make room for one patch too many.
        return self.proj(self.conv(self.pad(x)))[..., :height, :width].permute(0, 2, 3, 1)
