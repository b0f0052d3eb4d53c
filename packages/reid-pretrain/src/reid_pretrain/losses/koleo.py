"""The regularisation loss: KoLeo spreads the features of a batch (VILLS Eq. 10)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid_pretrain.distributed import gather, rank
from reid_pretrain.losses.distillation import full_precision


class KoLeoLoss(nn.Module):
    """-mean(log d_i), d_i the distance of a normalised feature to its nearest neighbour in the batch.

    Kozachenko-Leonenko entropy (Sablayrolles et al., ICLR 2019) as in DINOv2 (Oquab et al., 2023). Neighbours
    are searched for in the whole batch, over every rank.

    Args:
        eps: added to the distance before the logarithm (DINOv2: 1e-8).

    Example:
        >>> KoLeoLoss()(torch.eye(3)).item()  # -log sqrt(2)
        -0.34657...
    """

    def __init__(self, eps: float = 1e-8):
        super().__init__()
        self.eps = eps

    def forward(self, features: Tensor) -> Tensor:
        """Float [b d], b >= 2 over all ranks -> a scalar."""
        x = F.normalize(full_precision(features), dim=-1)
        every = gather(x)
        if len(every) < 2:
            raise ValueError(f"KoLeo needs a neighbour: got a batch of {len(every)}, expected at least 2")
        # in full precision, as DINOv2: neighbours are nearer to one another than half precision can tell
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            similarity = x @ every.T
            own = torch.arange(len(x), device=x.device)
            similarity.scatter_(1, (own + rank() * len(x))[:, None], -2.0)
            nearest = similarity.argmax(1)
        distance = F.pairwise_distance(x, every[nearest], eps=self.eps)
        return -(distance + self.eps).log().mean()
