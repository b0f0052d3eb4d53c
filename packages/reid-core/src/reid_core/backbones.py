"""Backbones with token access: timm's vision transformers and CNNs at any image size."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import timm
import torch
from timm.layers import to_2tuple
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn


class Tokens(NamedTuple):
    """What a backbone returns.

    Attributes:
        cls: float [b d], the class token (a CNN's globally averaged map).
        patches: float [b n d], the patch tokens in raster order, n = h * w.
        grid: (h, w) of the patch tokens.
    """

    cls: Tensor
    patches: Tensor
    grid: tuple[int, int]


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


class ConvStem(nn.Module):
    """A convolutional patch embedding, in timm's `embed_layer` slot.

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
        super().__init__()
        if 2 ** len(widths) != patch_size:
            raise ValueError(
                f"widths has {len(widths)} stages, so the patch size is {2 ** len(widths)}, "
                f"but patch_size={patch_size} was asked for"
            )
        self.img_size = to_2tuple(img_size)
        self.patch_size = to_2tuple(patch_size)
        self.grid_size = self.dynamic_feat_size(self.img_size)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
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

    def dynamic_feat_size(self, img_size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the tokens of an image of that size, padding counted in."""
        return -(-img_size[0] // self.patch_size[0]), -(-img_size[1] // self.patch_size[1])

    def feat_ratio(self, as_scalar: bool = True) -> int | tuple[int, int]:
        """Pixels a token."""
        return max(self.patch_size) if as_scalar else self.patch_size

    def forward(self, x: Tensor) -> Tensor:
        """Float [b 3 h w] -> [b h' w' d]."""
        pad_h = -x.shape[-2] % self.patch_size[0]
        pad_w = -x.shape[-1] % self.patch_size[1]
        x = nn.functional.pad(x, (0, pad_w, 0, pad_h))
        return self.proj(x).permute(0, 2, 3, 1)


class ViTEncoder(nn.Module):
    """A timm vision transformer of any image size that returns its tokens.

    Position embeddings are interpolated to the image at hand; an image that is no multiple of the patch size
    (VILLS' 64x44 frames at patch 16) is padded with zeros at its right and bottom. Masked patches are
    replaced by a learnable token after the patch embedding, as in iBOT (Zhou et al., 2022).

    Args:
        vit: built with `dynamic_img_size=True, dynamic_img_pad=True, num_classes=0`.

    Raises:
        ValueError: the transformer has no class token.
    """

    def __init__(self, vit: VisionTransformer):
        super().__init__()
        if vit.cls_token is None:
            raise ValueError(
                "this vision transformer has no class token, expected one: choose another name, or pass "
                "class_token=True and global_pool='token'"
            )
        self.vit = vit
        self.dim: int = vit.embed_dim
        self.patch_size: tuple[int, int] = tuple(vit.patch_embed.patch_size)
        self.mask_token = nn.Parameter(torch.zeros(self.dim))

    def grid(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the patch tokens of an image of that size in pixels."""
        return -(-image_size[0] // self.patch_size[0]), -(-image_size[1] // self.patch_size[1])

    def forward(self, images: Tensor, mask: Tensor | None = None) -> Tokens:
        """
        Args:
            images: float [b 3 h w], normalised.
            mask: bool [b n], True where a patch is hidden, or None.
        """
        x = self.vit.patch_embed(images)
        batch, height, width, _ = x.shape
        if mask is not None:
            x = torch.where(mask.view(batch, height, width, 1), self.mask_token.to(x.dtype), x)
        x = self.vit.norm_pre(self.vit._pos_embed(x))
        # On a CPU, torch's fused attention is slow backwards in bfloat16: two products alone are 2x faster.
        fused = images.device.type != "cpu" or not torch.is_autocast_enabled("cpu")
        block: Any
        for block in self.vit.blocks:
            block.attn.fused_attn = fused
            x = block(x)
        x = self.vit.norm(x)
        prefix = self.vit.num_prefix_tokens
        return Tokens(x[:, 0], x[:, prefix:], (height, width))

    @torch.no_grad()
    def class_attention(self, images: Tensor) -> Tensor:
        """Attention of the class token to the patches in the last block, [b heads h w]; sums are <= 1."""
        seen: dict[str, Tensor] = {}
        attention: Any = self.vit.blocks[-1].attn
        handle = attention.register_forward_pre_hook(lambda _, args: seen.update(x=args[0]))
        try:
            tokens = self(images)
        finally:
            handle.remove()
        x = seen["x"]
        heads = attention.num_heads
        qkv = attention.qkv(x).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = attention.q_norm(qkv[0]), attention.k_norm(qkv[1])
        weights = (q[:, :, :1] @ k.transpose(-1, -2) * attention.scale).softmax(-1)
        return weights[:, :, 0, self.vit.num_prefix_tokens :].unflatten(-1, tokens.grid)


class CNNEncoder(nn.Module):
    """A timm CNN that returns its last map as patch tokens and its mean as class token."""

    cnn: Any  # timm's CNNs share no class that has what is used here

    def __init__(self, cnn: Any):
        super().__init__()
        self.cnn = cnn
        self.dim: int = self.cnn.num_features
        stride: int = self.cnn.feature_info[-1]["reduction"]
        self.patch_size: tuple[int, int] = (stride, stride)

    def grid(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the last map of an image of that size in pixels."""
        return -(-image_size[0] // self.patch_size[0]), -(-image_size[1] // self.patch_size[1])

    def forward(self, images: Tensor, mask: Tensor | None = None) -> Tokens:
        """Float [b 3 h w] -> tokens. A CNN has no patch to hide: a mask is an error."""
        if mask is not None:
            raise ValueError("a CNN backbone can't hide patches: pass mask=None, or choose a vit_* backbone")
        x = self.cnn.forward_features(images)
        return Tokens(x.mean((2, 3)), x.flatten(2).transpose(1, 2), (x.shape[2], x.shape[3]))


Encoder = ViTEncoder | CNNEncoder

# Vision transformers beside timm's own names. Small: for tests, demos and data sets of a thousand images.
VITS: dict[str, dict[str, Any]] = {
    "vit_nano_conv8": {
        "patch_size": 8,
        "embed_dim": 128,
        "depth": 4,
        "num_heads": 4,
        "embed_layer": ConvStem,
    },
    "vit_pico_conv8": {
        "patch_size": 8,
        "embed_dim": 192,
        "depth": 6,
        "num_heads": 3,
        "embed_layer": ConvStem,
    },
    "vit_nano_patch8": {"patch_size": 8, "embed_dim": 128, "depth": 4, "num_heads": 4},
    "vit_pico_patch8": {"patch_size": 8, "embed_dim": 192, "depth": 6, "num_heads": 3},
}


def build_backbone(
    name: str,
    image_size: tuple[int, int] = (256, 128),
    *,
    drop_path: float = 0.0,
    **options: Any,
) -> Encoder:
    """A randomly initialised backbone by name.

    Args:
        name: a key of `VITS`, or any timm model name (`vit_small_patch16_224`, `resnet50`, ...).
        image_size: (height, width) in pixels that position embeddings are made for; other sizes interpolate.
        drop_path: stochastic depth rate of a ViT.
        options: passed on to the constructor (`depth=2` for a test).

    Returns:
        A module `encoder(images [b 3 h w], mask=None) -> Tokens` with `dim`, `patch_size` and
        `grid(image_size)`.

    Raises:
        ValueError: the name is unknown, or a vision transformer has no class token.

    Example:
        >>> encoder = build_backbone("vit_nano_conv8", (64, 32))
        >>> encoder(torch.zeros(1, 3, 64, 44)).grid
        (8, 6)
    """
    dynamic: dict[str, Any] = {
        "img_size": image_size,
        "dynamic_img_size": True,
        "dynamic_img_pad": True,
        "num_classes": 0,
    }
    if name in VITS:
        settings = {**VITS[name], **options, "drop_path_rate": drop_path}
        if settings.get("embed_layer") is ConvStem:
            stem = {key: settings.pop(key) for key in ("widths", "blocks") if key in settings}
            settings["embed_layer"] = partial(ConvStem, **stem)
        return ViTEncoder(VisionTransformer(**dynamic, **settings))
    if not timm.is_model(name):
        near = ", ".join(difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0))
        raise ValueError(
            f"no backbone named {name!r}: give one of {', '.join(VITS)} or a timm name, such as {near}"
        )
    if name.startswith(("vit_", "deit")):
        vit = timm.create_model(name, **dynamic, drop_path_rate=drop_path, **options)
        return ViTEncoder(cast(VisionTransformer, vit))
    return CNNEncoder(timm.create_model(name, num_classes=0, **options))
