"""Cross-Frame Attention Adapter: attention across the frames of a set (VSLA-CLIP Eq. 16)."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from reid_adapters.config import HEAD_WIDTH, CFAAConfig, Init
from reid_adapters.ifa import up_projection
from reid_adapters.method import Layer, Method, Site

TILE = 64
"""Rows that attention on a GPU works on together, however few a sequence has."""

MASKED = (SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)
"""Kinds of attention that take any mask."""


class CFAA(Layer):
    """Down-projection, attention across frames at each token's place, up-projection (VSLA-CLIP Eq. 16).

    In parallel with a block's attention; it reads the residual stream before the LayerNorm. It knows no order
    of frames, so permuting them permutes its output, and it takes any number of them.

    Args:
        width: channels of the tokens.
        bottleneck: the paper's alpha, a multiple of 64; there are bottleneck / 64 heads.
        init: "zero" for an up-projection that starts at zero, "torch" for torch's initial weights.

    Example:
        >>> CFAA(768, 64)(torch.randn(8, 129, 768), frames=4).abs().max().item()
        0.0
    """

    place = "attention"

    def __init__(
        self,
        width: int,
        bottleneck: int,
        init: Init = "zero",
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        self.heads = bottleneck // HEAD_WIDTH
        self.down = nn.Linear(width, bottleneck, device=device, dtype=dtype)
        self.qkv = nn.Linear(bottleneck, 3 * bottleneck, device=device, dtype=dtype)
        self.proj = nn.Linear(bottleneck, bottleneck, device=device, dtype=dtype)
        self.up = up_projection(bottleneck, width, init, device, dtype)
        # As torch's MultiheadAttention, which the paper's layer is.
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.proj.bias)

    def forward(self, tokens: Tensor, frames: int) -> Tensor:
        """Tokens [(b t) l width] of sets of t frames -> what to add to them, of the same shape."""
        # Rearranged where tokens are narrow: all between is views, of which the backward pass keeps no copy.
        down = rearrange(self.down(tokens), "(b t) l c -> (b l) t c", t=frames)
        shared = sets_in_a_tile(len(down), frames) if down.is_cuda else 1
        mixed = attend(self.qkv(down), self.heads, shared)
        return self.up(rearrange(self.proj(mixed), "(b l) t c -> (b t) l c", l=tokens.shape[1]))


def sets_in_a_tile(sets: int, frames: int) -> int:
    """Most sets of so many frames that fill a tile together and divide all of them.

    Example:
        >>> sets_in_a_tile(32 * 129, 8), sets_in_a_tile(129, 8), sets_in_a_tile(8, 100)
        (8, 3, 1)
    """
    return next((shared for shared in range(TILE // frames, 1, -1) if sets % shared == 0), 1)


def attend(qkv: Tensor, heads: int, shared: int = 1) -> Tensor:
    """Attention within each set.

    Args:
        qkv: queries, keys and values side by side, [n t (3 h d)] of n sets of t frames.
        heads: h.
        shared: sets that are one sequence, each of which sees itself alone; a divisor of n.

    Returns:
        [n t (h d)].

    Example:
        >>> qkv = torch.randn(6, 4, 3 * 8)
        >>> torch.allclose(attend(qkv, heads=2), attend(qkv, heads=2, shared=3), atol=1e-6)
        True
    """
    query, key, value = (
        rearrange(part, "(n p) t (h d) -> n h (p t) d", p=shared, h=heads) for part in qkv.chunk(3, dim=-1)
    )
    mask: Tensor | None = None
    kinds: Any = contextlib.nullcontext()
    if shared > 1:
        member = torch.arange(query.shape[2], device=qkv.device) // qkv.shape[1]
        mask, kinds = member == member[:, None], sdpa_kernel(list(MASKED))
    with kinds:
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return rearrange(mixed, "n h (p t) d -> (n p) t (h d)", p=shared)


def build_layers(config: CFAAConfig, site: Site) -> dict[str, Layer]:
    """The adapter of one block."""
    return {"cfaa": CFAA(site.width, config.bottleneck, config.init, site.device, site.dtype)}


METHOD = Method(CFAAConfig, build_layers)
