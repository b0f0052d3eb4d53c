"""The losses of both stages, each usable alone (VSLA-CLIP Eqs. 2-4, 7-9)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid_adapters.config import LOGIT_SCALE, SMOOTHING


def full_precision(x: Tensor) -> Tensor:
    """Half precision in float32; float32 and float64 as they are.

    Example:
        >>> full_precision(torch.zeros(2, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))


def similarity(left: Tensor, right: Tensor, scale: float | None = LOGIT_SCALE) -> Tensor:
    """Similarities of all pairs, in float32 or more: scaled cosines, or inner products.

    Args:
        left: [m e].
        right: [n e].
        scale: of the cosine; None for plain inner products.

    Returns:
        [m n].

    Example:
        >>> similarity(torch.tensor([[2.0, 0.0]]), torch.eye(2), scale=10)
        tensor([[10.,  0.]])
    """
    left, right = full_precision(left), full_precision(right)
    if scale is not None:
        left, right = scale * F.normalize(left, dim=-1), F.normalize(right, dim=-1)
    with torch.autocast(left.device.type, enabled=False):  # half precision would round what scale magnifies
        return left @ right.T


def contrastive_loss(
    anchors: Tensor, others: Tensor, labels: Tensor, scale: float | None = LOGIT_SCALE
) -> Tensor:
    """Contrast with several positives (VSLA-CLIP Eq. 2): t2i with texts as anchors, i2t with visual features.

    Each anchor's log-softmax over the batch's others, averaged over those of its own identity, then over
    anchors. An identity's text stands in the batch as often as the identity does, as in the released code.

    Args:
        anchors: [b e].
        others: [b e], row by row of the same samples.
        labels: int64 [b], their identities.
        scale: as in `similarity`.

    Returns:
        A scalar.

    Example:
        >>> texts = torch.eye(3)[[0, 0, 2]]
        >>> contrastive_loss(texts, texts, torch.tensor([0, 0, 2])).item()  # log 2 for two of three
        0.46...
    """
    if not len(anchors) == len(others) == len(labels):
        sizes = (len(anchors), len(others), len(labels))
        raise ValueError(f"anchors, others and labels must be rows of the same samples, got {sizes}")
    log_probabilities = similarity(anchors, others, scale).log_softmax(dim=1)
    positives = (labels[:, None] == labels).float()
    return -((log_probabilities * positives).sum(1) / positives.sum(1)).mean()


def visual_to_semantic_loss(
    visual: Tensor,
    texts: Tensor,
    labels: Tensor,
    scale: float | None = LOGIT_SCALE,
    smoothing: float = SMOOTHING,
) -> Tensor:
    """Cross-entropy of visual features over all identities' texts, smoothed labels (VSLA-CLIP Eqs. 4, 7).

    Args:
        visual: [b e].
        texts: [N e], of all identities.
        labels: int64 [b], rows of texts.
        scale: as in `similarity`.
        smoothing: share of the target spread over all identities.

    Returns:
        A scalar.

    Example:
        >>> visual_to_semantic_loss(torch.eye(4), torch.eye(4), torch.arange(4), smoothing=0).item()
        0.0
    """
    return F.cross_entropy(similarity(visual, texts, scale), labels, label_smoothing=smoothing)


class HardTripletLoss(nn.Module):
    """max(d_p - d_n + margin, 0) of each sample's farthest positive and nearest negative (VSLA-CLIP Eq. 8).

    Mining and distances are pytorch-metric-learning's (extra `train`).

    Args:
        margin: the paper's theta.
        distance: "cosine", as the released configuration says, or "euclidean".

    Example:
        >>> loss = HardTripletLoss()
        >>> loss(torch.eye(2)[[0, 0, 1, 1]], torch.tensor([5, 5, 8, 8])).item()
        0.0
    """

    def __init__(self, margin: float = 0.3, distance: Literal["cosine", "euclidean"] = "cosine"):
        super().__init__()
        try:
            from pytorch_metric_learning import distances, losses, miners, reducers
        except ImportError as error:
            raise ImportError(
                "HardTripletLoss needs pytorch-metric-learning: pip install pytorch-metric-learning"
            ) from error
        if distance not in ("cosine", "euclidean"):
            raise ValueError(f'distance must be "cosine" or "euclidean", got {distance!r}')
        euclidean = distance == "euclidean"
        metric = (
            distances.LpDistance(normalize_embeddings=False) if euclidean else distances.CosineSimilarity()
        )
        self.miner = miners.BatchHardMiner(distance=metric)
        self.loss = losses.TripletMarginLoss(margin, distance=metric, reducer=reducers.MeanReducer())

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Features [b e] and identities int64 [b] -> a scalar."""
        with torch.autocast(features.device.type, enabled=False):
            features = full_precision(features)
            return self.loss(features, labels, self.miner(features, labels))


class IDHead(nn.Module):
    """Identity loss behind a batch normalisation neck (VSLA-CLIP Eq. 9; Luo et al., CVPRW 2019).

    Args:
        features: channels.
        identities: how many.
        smoothing: share of the target spread over all identities.

    Example:
        >>> IDHead(8, 5)(torch.randn(4, 8), torch.tensor([0, 1, 2, 3])).shape
        torch.Size([])
    """

    def __init__(self, features: int, identities: int, smoothing: float = SMOOTHING):
        super().__init__()
        self.smoothing = smoothing
        self.neck = nn.BatchNorm1d(features)
        self.neck.bias.requires_grad_(False)  # the neck's point: no shift between both losses' features
        self.classifier = nn.Linear(features, identities, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Features [b e] and identities int64 [b] -> a scalar."""
        logits = self.classifier(self.neck(full_precision(features)))
        return F.cross_entropy(full_precision(logits), labels, label_smoothing=self.smoothing)
