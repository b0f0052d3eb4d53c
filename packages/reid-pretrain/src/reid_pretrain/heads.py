"""Heads: multi-layer perceptrons, with batch normalisation in VILLS (supplement 2), without in CION."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def mlp(dim: int, hidden: int, out: int, layers: int = 3, batch_norm: bool = True) -> nn.Sequential:
    """Linear, batch norm (where asked for), GELU; the last layer is linear alone."""
    widths = [dim, *[hidden] * (layers - 1)]
    parts: list[nn.Module] = []
    for before, after in zip(widths, widths[1:], strict=False):
        norm = [nn.BatchNorm1d(after)] if batch_norm else []
        parts += [nn.Linear(before, after, bias=not batch_norm), *norm, nn.GELU()]
    return nn.Sequential(*parts, nn.Linear(widths[-1], out))


class PrototypeHead(nn.Module):
    """DINO's projection head: an MLP, an l2-normalised bottleneck and K prototypes of unit length.

    Args:
        dim: channels of a token.
        prototypes: K. DINO's 65,536 by default.
        hidden: width of the MLP (DINO: 2,048).
        bottleneck: channels before the prototypes (DINO: 256).
        batch_norm: whether the MLP has batch norms (DINO for vision transformers: none).
    """

    def __init__(
        self,
        dim: int,
        prototypes: int = 65_536,
        hidden: int = 2_048,
        bottleneck: int = 256,
        batch_norm: bool = True,
    ):
        super().__init__()
        self.mlp = mlp(dim, hidden, bottleneck, batch_norm=batch_norm)
        self.prototypes = nn.Linear(bottleneck, prototypes, bias=False)
        self.apply(init)

    def forward(self, tokens: Tensor, freeze_prototypes: bool = False) -> Tensor:
        """Float [... d] -> logits [... k]; the leading axes are the batch of the batch norm."""
        x = self.mlp(tokens.flatten(0, -2)).unflatten(0, tokens.shape[:-1])
        weight = F.normalize(self.prototypes.weight, dim=-1)
        return F.linear(F.normalize(x, dim=-1), weight.detach() if freeze_prototypes else weight)


class EmbeddingHead(nn.Module):
    """An MLP to the space in which videos and frames are aligned (Eq. 11).

    Args:
        dim: channels of its input.
        out: channels of the embedding.
        hidden: width of the MLP.
    """

    def __init__(self, dim: int, out: int = 256, hidden: int = 2_048):
        super().__init__()
        self.mlp = mlp(dim, hidden, out, layers=2)
        self.apply(init)

    def forward(self, features: Tensor) -> Tensor:
        """Float [b d] -> [b e]."""
        return self.mlp(features)


def init(module: nn.Module) -> None:
    """DINO's initialisation of a head: normal weights of deviation 0.02, zero biases."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
