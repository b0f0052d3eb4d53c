"""What DINO's and iBOT's losses share: the teacher's distribution and the cross-entropy to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from reid_pretrain.distributed import sum_across_ranks


def full_precision(x: Tensor) -> Tensor:
    """Half precision -> float32; float32 and float64 as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def cross_entropy(
    logits: Tensor,
    targets: Sequence[Tensor],
    rows: Sequence[Tensor | None],
    temperature: float,
) -> Tensor:
    """H(a, b) = -sum_j a_j log b_j (Eq. 8) of each student row and the target that it is compared with.

    Args:
        logits: the student's, float [n ... k], one part of successive rows after another.
        targets: probabilities of each part, [t ... k], without gradient.
        rows: which of its targets each row of a part is compared with, int [m]; None for all in order.
        temperature: of the student.

    Returns:
        Float [n ...], of single precision at least.
    """
    losses: Tensor = _CrossEntropy.apply(logits, targets, rows, temperature)
    return losses


class _CrossEntropy(torch.autograd.Function):
    """The gradient is computed beside the loss: of all that is as large as the logits, it alone is kept.

    Each part's temporaries are freed before the next one's, which a CPU then has in its cache.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        targets: Sequence[Tensor],
        rows: Sequence[Tensor | None],
        temperature: float,
    ) -> Tensor:
        slope = torch.empty_like(logits, dtype=torch.promote_types(logits.dtype, torch.float32))
        losses, start = [], 0
        for target, row in zip(targets, rows, strict=True):
            chosen = (target if row is None else target.index_select(0, row)).to(slope.dtype)
            some = slice(start, start + len(chosen))
            start = some.stop
            log = (full_precision(logits[some]) / temperature).log_softmax(-1)
            torch.ops.aten._log_softmax_backward_data.out(chosen, log, -1, log.dtype, out=slope[some])
            losses.append(-log.mul_(chosen).sum(-1))
        ctx.save_for_backward(slope)
        ctx.temperature, ctx.dtype = temperature, logits.dtype
        return torch.cat(losses)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        return (slope * (gradient / -ctx.temperature)[..., None]).to(ctx.dtype), None, None, None


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
        return (full_precision(logits) - self.value).div_(self.temperature).softmax(-1)

    @torch.no_grad()
    def update(self, logits: Tensor) -> None:
        """Moves the running mean towards the mean of [... k] over every rank; stays where no rank has a row.

        Ranks may have different numbers of rows, or none, but every rank must call this.
        """
        rows = full_precision(logits).flatten(0, -2)
        total = sum_across_ranks(torch.cat([rows.sum(0), rows.new_full((1,), len(rows))]))
        mean = (total[:-1] / total[-1].clamp(min=1)).to(self.value)
        self.value.lerp_(mean, ((total[-1] > 0) * (1 - self.momentum)).to(self.value))
