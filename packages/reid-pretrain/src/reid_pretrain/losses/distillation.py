"""What DINO's and iBOT's losses share: the teacher's distribution and the cross-entropy to it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reid_pretrain.distributed import sum_across_ranks


def full_precision(x: Tensor) -> Tensor:
    """Half precision -> float32; float32 and float64 as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def cross_entropy(target: Tensor, logits: Tensor, temperature: float) -> Tensor:
    """H(a, b) = -sum_j a_j log b_j (Eq. 8) of probabilities [... k] and student logits [... k] -> [...]."""
    return -(target * (full_precision(logits) / temperature).log_softmax(-1)).sum(-1)


class Centre(nn.Module):
    """DINO's teacher distribution: logits less their running mean, sharpened.

    Args:
        dim: K, the prototypes.
        temperature: of the teacher (DINO: 0.04).
        momentum: of the running mean (DINO: 0.9).
    """

    value: Tensor

    def __init__(self, dim: int, temperature: float = 0.04, momentum: float = 0.9):
        super().__init__()
        self.temperature = temperature
        self.momentum = momentum
        self.register_buffer("value", torch.zeros(dim))

    @torch.no_grad()
    def forward(self, logits: Tensor) -> Tensor:
        """Float [... k] -> probabilities [... k]."""
        return ((full_precision(logits) - self.value) / self.temperature).softmax(-1)

    @torch.no_grad()
    def update(self, logits: Tensor) -> None:
        """Moves the running mean towards the mean of [... k] over every rank; stays where no rank has a row.

        Ranks may have different numbers of rows, or none, but every rank must call this.
        """
        rows = full_precision(logits).flatten(0, -2)
        total = sum_across_ranks(torch.cat([rows.sum(0), rows.new_full((1,), len(rows))]))
        mean = (total[:-1] / total[-1].clamp(min=1)).to(self.value)
        self.value.lerp_(mean, ((total[-1] > 0) * (1 - self.momentum)).to(self.value))
