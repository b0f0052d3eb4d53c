"""CLIP's image towers by open_clip (extra `clip`), at any image size."""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from reid_core.models.backbones.geometry import pad_patches, patch_grid
from reid_core.models.backbones.tokens import Tokens, no_mask


class CLIPEncoder(nn.Module):
    """An open_clip vision transformer that returns its tokens after the last norm.

    Position embeddings are interpolated to the size of the image. The projection into the space that CLIP
    shares with text is kept, frozen, for `project`.

    Args:
        clip: an `open_clip.transformer.VisionTransformer`.
        image_size: (height, width) in pixels that position embeddings are made for.
        stride: pixels from a patch to the next; None for the patch size (CLIP-ReID: 12 or 16).
    """

    has_class_token = True
    takes_mask = False
    clip: Any

    def __init__(self, clip: nn.Module, image_size: tuple[int, int], stride: int | None = None):
        super().__init__()
        self.clip = clip
        patch = self.clip.patch_size[0]
        self.patch_size: tuple[int, int] = (patch, patch)
        self.stride = stride or patch
        self.clip.conv1.stride = (self.stride, self.stride)
        height, width = self.clip.grid_size = patch_grid(image_size, patch, self.stride)
        self.dim: int = self.clip.positional_embedding.shape[1]
        embedding = torch.randn(1 + height * width, self.dim) * self.dim**-0.5
        self.clip.positional_embedding = nn.Parameter(embedding)
        self.clip.proj.requires_grad_(False)

    @property
    def trunk(self) -> nn.Module:
        """The library's module, whose parameter names published checkpoints are brought to."""
        return self.clip

    def grid(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the patch tokens of an image of that size in pixels."""
        return patch_grid(image_size, self.patch_size[0], self.stride)

    def forward(self, images: Tensor, mask: Tensor | None = None, side: Tensor | None = None) -> Tokens:
        """
        Args:
            images: float [b 3 h w], normalised.
            mask: must be None.
            side: float [b d], added to the class token with its position (CLIP-ReID's SIE), or None.
        """
        no_mask(mask, "a CLIP")
        x = self.clip.conv1(pad_patches(images, self.patch_size[0], self.stride))
        batch, _, *grid = x.shape
        x = torch.cat([self.clip.class_embedding.expand(batch, 1, -1), x.flatten(2).transpose(1, 2)], dim=1)
        embedding = self.clip.positional_embedding[None]
        x = x + resample_abs_pos_embed(embedding, grid, old_size=list(self.clip.grid_size))
        if side is not None:
            x = torch.cat([x[:, :1] + side[:, None], x[:, 1:]], dim=1)
        x = self.clip.ln_post(self.clip.transformer(self.clip.ln_pre(x)))
        return Tokens(x[:, 0], x[:, 1:], (grid[0], grid[1]))

    def project(self, tokens: Tensor) -> Tensor:
        """Tokens [... d] into the space shared with text, [... e]."""
        return tokens @ self.clip.proj


def build_clip(
    name: str, image_size: tuple[int, int], stride: int | None = None, **options: Any
) -> CLIPEncoder:
    """The randomly initialised image tower of an open_clip model, without its text tower.

    OpenAI's weights, and so CLIP-ReID's, need a "-quickgelu" name: they were trained with that activation.

    Args:
        name: open_clip's, such as "ViT-B-16-quickgelu".
        image_size: (height, width) in pixels that position embeddings are made for.
        stride: pixels from a patch to the next; None for the patch size.
        options: fields of open_clip's `CLIPVisionCfg` (`layers=2` for a test).

    Raises:
        ModuleNotFoundError: open_clip is not installed.
        ValueError: open_clip has no such model, or it is no vision transformer with a class token.
    """
    try:
        import open_clip
        from open_clip.model import CLIPVisionCfg
        from open_clip.transformer import LayerNorm, QuickGELU, VisionTransformer
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "CLIP's image towers need open_clip: pip install open_clip_torch"
        ) from error
    config = open_clip.get_model_config(name)
    if config is None:
        raise ValueError(f"open_clip has no model {name!r}: give one of open_clip.list_models()")
    settings = CLIPVisionCfg(**{**config["vision_cfg"], **options})
    if settings.timm_model_name or not isinstance(settings.layers, int) or settings.attentional_pool:
        raise ValueError(
            f"the image tower of {name!r} is no vision transformer with a class token: choose a ViT-* model"
        )
    tower = VisionTransformer(
        image_size=image_size,
        patch_size=settings.patch_size,
        width=settings.width,
        layers=settings.layers,
        heads=settings.width // settings.head_width,
        mlp_ratio=settings.mlp_ratio,
        ls_init_value=settings.ls_init_value,
        no_ln_pre=settings.no_ln_pre,
        output_dim=config["embed_dim"],
        act_layer=QuickGELU if config.get("quick_gelu") else nn.GELU,
        norm_layer=LayerNorm,
    )
    return CLIPEncoder(tower, image_size, stride)
