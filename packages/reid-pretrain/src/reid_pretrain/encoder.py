"""The shared encoder: images, videos and single frames to the same L tokens (VILLS Eqs. 6-7)."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from einops import rearrange
from torch import Tensor, nn


class Tokens(Protocol):
    """What a backbone returns: class token [b d], patch tokens [b n d] and their grid (h, w).

    A backbone without class token gives a global feature of its own in place of it, such as its pooled map.
    """

    cls: Tensor
    patches: Tensor
    grid: tuple[int, int]


class VideoImageEncoder(nn.Module):
    """A shared image encoder and a resampler: what VILLS keeps for fine-tuning and inference.

    Args:
        encoder: `encoder(images [b 3 h w], mask=None) -> Tokens`, with an attribute `dim`.
        resampler: `resampler(tokens [b n d] | [b t n d]) -> [b L d]`, with an attribute `num_tokens`.

    Example:
        >>> from types import SimpleNamespace
        >>> from reid_pretrain import PerceiverResampler
        >>> class Patches(nn.Module):
        ...     dim = 6
        ...
        ...     def forward(self, x, mask=None):
        ...         patches = rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=2, q=1)
        ...         return SimpleNamespace(cls=patches.mean(1), patches=patches, grid=(4, 4))
        >>> model = VideoImageEncoder(Patches(), PerceiverResampler(6, num_tokens=4))
        >>> model(torch.zeros(2, 3, 8, 4)).shape, model.descriptor(torch.zeros(2, 5, 3, 8, 4)).shape
        (torch.Size([2, 4, 6]), torch.Size([2, 24]))
    """

    encoder: Any  # modules with the attributes named above
    resampler: Any

    def __init__(self, encoder: nn.Module, resampler: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.resampler = resampler

    @property
    def dim(self) -> int:
        """Channels of a descriptor, L * d."""
        return self.resampler.num_tokens * self.encoder.dim

    def encode(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Tokens and resampled tokens.

        Args:
            x: float [b 3 h w] images or [b t 3 h w] videos, normalised.
            mask: bool [b n] or [b t n], True where a patch is hidden.

        Returns:
            patches [b n d] or [b t n d], and the resampled tokens [b L d].
        """
        frames = x.shape[1] if x.ndim == 5 else None
        if frames is not None:
            x = rearrange(x, "b t c h w -> (b t) c h w")
            mask = rearrange(mask, "b t n -> (b t) n") if mask is not None else None
        tokens = self.encoder(x, mask)
        every = torch.cat([tokens.cls[:, None], tokens.patches], dim=1)
        if frames is not None:
            every = rearrange(every, "(b t) n d -> b t n d", t=frames)
        return every[..., 1:, :], self.resampler(every)

    def forward(self, x: Tensor) -> Tensor:
        """Images [b 3 h w] or videos [b t 3 h w] -> resampled tokens [b L d]."""
        return self.encode(x)[1]

    def descriptor(self, x: Tensor) -> Tensor:
        """Images [b 3 h w] or videos [b t 3 h w] -> one vector each, [b L*d]."""
        return self(x).flatten(1)

    @torch.no_grad()
    def query_attention(self, x: Tensor) -> Tensor:
        """Attention of the resampler's queries to the patches: [b L h w] of images, [b L t h w] of videos."""
        if self.training:
            raise RuntimeError("attention maps are for a model in eval mode: call .eval() first")
        frames = x.shape[1] if x.ndim == 5 else None
        tokens = self.encoder(rearrange(x, "b t c h w -> (b t) c h w") if frames else x)
        every = torch.cat([tokens.cls[:, None], tokens.patches], dim=1)
        if frames:
            every = rearrange(every, "(b t) n d -> b t n d", t=frames)
        return self.resampler.attention(every)[..., 1:].unflatten(-1, tokens.grid)
