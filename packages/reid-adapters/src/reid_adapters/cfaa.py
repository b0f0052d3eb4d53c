"""Cross-Frame Attention Adapter: attention across the frames of a set (VSLA-CLIP Eq. 16)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from reid_adapters.config import HEAD_WIDTH, Init
from reid_adapters.ifa import up_projection


class CFAA(nn.Module):
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
        query, key, value = (
            rearrange(part, "n t (h d) -> n h t d", h=self.heads) for part in self.qkv(down).chunk(3, dim=-1)
        )
        mixed = rearrange(F.scaled_dot_product_attention(query, key, value), "n h t d -> n t (h d)")
        return self.up(rearrange(self.proj(mixed), "(b l) t c -> (b t) l c", l=tokens.shape[1]))
