"""Cluster Contrast's memory: a centroid per cluster, moved by the features of each batch."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from reid_core.training.unsupervised.config import MOMENTUM, TEMPERATURE


class ClusterMemory(nn.Module):
    """ClusterNCE against a memory of centroids: `-log softmax(C x / temperature)[label]`, x of unit length.

    Then, in training, each instance moves its cluster's centroid: `c = m c + (1 - m) x`, back to unit length,
    one instance after the other in the order of the batch, as the published code does. Dai et al., "Cluster
    Contrast for Unsupervised Person Re-Identification", ACCV 2022. Under torch.distributed the memory is
    moved by the features of all ranks, rank by rank, which must be equally many; the loss is that of a rank's
    own, so that the mean over ranks is the whole batch's.

    Args:
        centroids: `[clusters d]`; brought to unit length.
        momentum: m, from 0 to 1.
        temperature: divisor of the cosine similarities.
        hardest: a cluster is moved once a batch, by its instance that is least like the centroid
            (`--use-hard` of that code and of TransReID-SSL's), rather than by each.

    Raises:
        ValueError: centroids that are no matrix of at least two rows, or a setting outside its range.

    Example:
        >>> memory = ClusterMemory(torch.eye(2))
        >>> loss = memory(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
        >>> bool(loss < memory(torch.tensor([[0.6, 0.8]]), torch.tensor([0])))
        True
    """

    centroids: Tensor

    def __init__(
        self,
        centroids: Tensor,
        momentum: float = MOMENTUM,
        temperature: float = TEMPERATURE,
        hardest: bool = False,
    ) -> None:
        super().__init__()
        if centroids.ndim != 2 or len(centroids) < 2:
            raise ValueError(
                f"centroids: got {tuple(centroids.shape)}; expected [clusters d], 2 or more rows"
            )
        if not 0 <= momentum <= 1 or temperature <= 0:
            raise ValueError(
                f"momentum={momentum}, temperature={temperature}: expected 0 <= momentum <= 1 and "
                "temperature > 0"
            )
        self.momentum, self.temperature, self.hardest = momentum, temperature, hardest
        self.register_buffer("centroids", F.normalize(centroids.float(), dim=1))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """The loss of a batch; in training the centroids move afterwards.

        Args:
            features: `[b d]`, float, of any length.
            labels: `[b]` int64, cluster of each.

        Returns:
            Scalar, the mean over the batch.
        """
        with torch.autocast(features.device.type, enabled=False):  # half precision would blur the update
            features = F.normalize(features.float(), dim=1)
            # a copy, for the centroids move in place before the gradient is asked for
            logits = features @ self.centroids.clone().T
            loss = F.cross_entropy(logits / self.temperature, labels)
            if self.training:
                self._move(*_of_all_ranks(features.detach(), labels))
        return loss

    @torch.no_grad()
    def _move(self, features: Tensor, labels: Tensor) -> None:
        """Clusters don't touch each other: the first instances of all move at once, then the second ones."""
        order = torch.arange(len(labels), device=labels.device)
        if self.hardest:
            order = (features * self.centroids[labels]).sum(dim=1).argsort(stable=True)
        order = order[labels[order].argsort(stable=True)]
        ordered = labels[order]
        turn = torch.arange(len(order), device=labels.device) - torch.searchsorted(ordered, ordered)
        for now in range(1 if self.hardest else int(turn.max()) + 1):
            rows = order[turn == now]
            moved = self.momentum * self.centroids[labels[rows]] + (1 - self.momentum) * features[rows]
            self.centroids[labels[rows]] = F.normalize(moved, dim=1)


def _of_all_ranks(*tensors: Tensor) -> list[Tensor]:
    """Each rank's rows of each tensor, in the order of ranks."""
    if not (dist.is_available() and dist.is_initialized()):
        return list(tensors)
    gathered = []
    for tensor in tensors:
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, tensor.contiguous())
        gathered.append(torch.cat(parts))
    return gathered
