"""The perceiver resampler: any number of image or video tokens -> L tokens (VILLS Eq. 7)."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class ClassTokenPool(nn.Module):
    """In place of a resampler: the class token, of a video the mean of its frames' (VILLS Table 2b, "+ shared
    encoder").

    Example:
        >>> ClassTokenPool()(torch.zeros(2, 8, 5, 6)).shape  # 2 videos of 8 frames, 5 tokens
        torch.Size([2, 1, 6])
    """

    num_tokens = 1

    def forward(self, tokens: Tensor) -> Tensor:
        """Float [b n d] of images or [b t n d] of videos, the class token first -> [b 1 d]."""
        first = tokens[..., :1, :]
        return first if tokens.ndim == 3 else first.mean(1)


class CrossAttention(nn.Module):
    """Multi-head attention of queries to the tokens and to the queries themselves.

    Keys and values include the queries, as in Flamingo's resampler (Alayrac et al., 2022), VILLS' reference.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim={dim} is no multiple of heads={heads}")
        self.heads = heads
        self.norm_queries = nn.LayerNorm(dim)
        self.norm_tokens = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_kv = nn.Linear(dim, 2 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim, bias=False)

    def project(self, queries: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[b l d], [b n d] -> q [b h l c], k and v [b h n+l c]."""
        queries = self.norm_queries(queries)
        q = rearrange(self.to_q(queries), "b l (h c) -> b h l c", h=self.heads)
        both = torch.cat([self.norm_tokens(tokens), queries], dim=1)
        k, v = rearrange(self.to_kv(both), "b n (two h c) -> two b h n c", two=2, h=self.heads)
        return q, k, v

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        x = F.scaled_dot_product_attention(*self.project(queries, tokens))
        return self.to_out(rearrange(x, "b h l c -> b l (h c)"))

    def weights(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Attention of each query to each token, mean over heads, without the queries' own part: [b l n]."""
        q, k, _ = self.project(queries, tokens)
        attention = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
        return attention.mean(1)[..., : tokens.shape[1]]


class ResamplerLayer(nn.Module):
    """Cross-attention and an MLP, each with a residual path."""

    def __init__(self, dim: int, heads: int, hidden: int):
        super().__init__()
        self.attention = CrossAttention(dim, heads)
        self.mlp = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        x = queries + self.attention(queries, tokens)
        return x + self.mlp(x)


class PerceiverResampler(nn.Module):
    """L learnable queries select the most important tokens of an image or a video (Eq. 7).

    A video's temporal and spatial axes are flattened before the attention. A learnable time embedding, zero
    at the start, is added to each frame's tokens so that motion can be told from a set of frames (Flamingo;
    not specified in the paper); a single image has none.

    Args:
        dim: channels of a token.
        num_tokens: L, the learnable queries. The paper doesn't give L: one coarse-grained token and one for
            each of its three areas.
        depth: layers of cross-attention and MLP ("a small transformer layer", supplement 2).
        heads: attention heads.
        mlp_ratio: hidden width of the MLP in multiples of dim.
        max_frames: frames that the time embedding is made for (the paper's 8); other counts interpolate it.
    """

    def __init__(
        self,
        dim: int,
        num_tokens: int = 4,
        depth: int = 1,
        heads: int = 6,
        mlp_ratio: float = 4.0,
        max_frames: int = 8,
    ):
        super().__init__()
        self.num_tokens = num_tokens
        self.queries = nn.Parameter(torch.randn(num_tokens, dim) * 0.02)
        self.time = nn.Parameter(torch.zeros(max_frames, dim))
        self.layers = nn.ModuleList(ResamplerLayer(dim, heads, int(dim * mlp_ratio)) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def flatten(self, tokens: Tensor) -> Tensor:
        """Float [b n d] as it is; [b t n d] with its time embedding -> [b (t n) d]."""
        if tokens.ndim == 3:
            return tokens
        frames = tokens.shape[1]
        time: Tensor = self.time
        if frames != len(time):
            time = F.interpolate(time.T[None], size=frames, mode="linear")[0].T
        return rearrange(tokens + time[:, None], "b t n d -> b (t n) d")

    def forward(self, tokens: Tensor) -> Tensor:
        """
        Args:
            tokens: float [b n d] of images, or [b t n d] of videos.

        Returns:
            Float [b L d].
        """
        flat = self.flatten(tokens)
        x = self.start(flat)
        for layer in self.layers:
            x = layer(x, flat)
        return self.norm(x)

    def attention(self, tokens: Tensor) -> Tensor:
        """Attention of the queries to the tokens in the last layer, float [b L n] or [b L t n]."""
        flat = self.flatten(tokens)
        x = self.start(flat)
        for layer in self.layers[:-1]:
            x = layer(x, flat)
        weights = cast(ResamplerLayer, self.layers[-1]).attention.weights(x, flat)
        return weights if tokens.ndim == 3 else rearrange(weights, "b l (t n) -> b l t n", t=tokens.shape[1])

    def start(self, flat: Tensor) -> Tensor:
        """The queries, once for each item of the batch."""
        # By the shape, not len(): a number would be a constant of a traced or exported model.
        return self.queries.expand(flat.shape[0], -1, -1)
