"""The person re-identification head (BNNeck) and its objective: identity and batch-hard triplet losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from pytorch_metric_learning.reducers import MeanReducer
from pytorch_metric_learning.utils.distributed import gather
from torch import Tensor, nn

CLASSIFIER_STD = 0.001
"""Standard deviation of the classifier's initial weights (Luo et al. 2019, reference code)."""
LABEL_SMOOTHING = 0.1
"""Luo et al. 2019, section 3.3."""


class ReIDModel(nn.Module):
    """An extractor with a BNNeck.

    `f = extractor(x)` is the feature of the triplet loss, `g = BN(f)` that of the classifier `W g`, and
    `g / |g|` the descriptor compared at test time, or `f / |f|` (TransReID's NECK_FEAT: before). BN has no
    learned shift and the classifier no bias, so that identities are separated by directions through the
    origin.
    Luo et al., "Bag of Tricks and a Strong Baseline for Deep Person Re-identification", CVPRW 2019.

    Args:
        extractor: module from images `[b 3 h w]` or clips `[b t 3 h w]`, float, to features `[b dim]`.
        dim: length of the extractor's features.
        num_classes: number of training identities; 0 for a model without a classifier, for retrieval alone.
        descriptor: whether the feature "after" or "before" the neck is compared at test time.

    Raises:
        ValueError: dim is not positive, num_classes negative, or no such descriptor.

    Example:
        >>> model = ReIDModel(nn.Sequential(nn.Flatten(), nn.Linear(12, 4)), dim=4, num_classes=3).eval()
        >>> model(torch.randn(2, 3, 2, 2)).norm(dim=1).detach().round(decimals=4)
        tensor([1., 1.])
    """

    def __init__(
        self,
        extractor: nn.Module,
        dim: int,
        num_classes: int,
        descriptor: Literal["after", "before"] = "after",
    ) -> None:
        super().__init__()
        if descriptor not in ("after", "before"):
            raise ValueError(f'descriptor={descriptor!r}; expected "after" or "before" the neck')
        if dim < 1 or num_classes < 0:
            raise ValueError(
                f"dim must be positive and num_classes not negative; got dim={dim}, num_classes={num_classes}"
            )
        self.dim, self.num_classes, self.descriptor = dim, num_classes, descriptor
        self.extractor = extractor
        self.neck = nn.BatchNorm1d(dim)
        self.neck.bias.requires_grad_(False)
        self.classifier: nn.Module = nn.Identity()
        if num_classes:
            self.classifier = nn.Linear(dim, num_classes, bias=False)
            nn.init.normal_(self.classifier.weight, std=CLASSIFIER_STD)

    def features(self, x: Tensor) -> Tensor:
        """Features before the neck, for the triplet loss.

        Args:
            x: images `[b 3 h w]` or clips `[b t 3 h w]`, float.

        Returns:
            `[b dim]`, float.

        Raises:
            ValueError: the extractor returned another shape.
        """
        features = self.extractor(x)
        if features.shape != (x.shape[0], self.dim):
            raise ValueError(
                f"the extractor returned {tuple(features.shape)} for an input of {tuple(x.shape)}; "
                f"expected {(x.shape[0], self.dim)}: give ReIDModel the extractor's own dim"
            )
        return features

    def logits(self, features: Tensor) -> Tensor:
        """Identity scores of features before the neck.

        Args:
            features: `[b dim]`, as `features` returns them.

        Returns:
            `[b num_classes]`, float.

        Raises:
            ValueError: the model has no classifier.
        """
        if not self.num_classes:
            raise ValueError("this ReIDModel has no classifier: build it with num_classes to train it")
        return self.classifier(self.neck(features))

    def without_classifier(self) -> ReIDModel:
        """The same extractor and neck as a model for retrieval alone, which is what a model folder holds.

        Returns:
            A model that shares this one's weights.
        """
        model = ReIDModel(self.extractor, self.dim, 0, self.descriptor)
        model.neck = self.neck
        return model

    def forward(self, x: Tensor) -> Tensor:
        """The descriptor for retrieval: features after the neck, or before it, of unit length.

        Args:
            x: images `[b 3 h w]` or clips `[b t 3 h w]`, float.

        Returns:
            `[b dim]`, float.
        """
        features = self.features(x)
        return F.normalize((self.neck(features) if self.descriptor == "after" else features).float(), dim=1)


class ReIDObjective(nn.Module):
    """Identity loss and batch-hard triplet loss on images, clips or both.

    `L = CE(W BN(f), y; label smoothing) + T(f)`, with for each anchor its farthest positive and nearest
    negative (Euclidean distance `d`, Hermans et al., "In Defense of the Triplet Loss", 2017):
    `T = mean softplus(d(a, p) - d(a, n))` (soft margin), or `T = mean max(0, d(a, p) - d(a, n) + margin)`.
    Images and clips of a batch are concatenated first, so triplets are mined across them too. Under
    DistributedDataParallel triplets are mined over the batches of all ranks, which must be equally large;
    the gradient is that of the same loss on the whole batch. `reid_core.training.fit` gives the neck the
    statistics of the whole batch too.

    Args:
        model: the extractor with its BNNeck.
        pids: person ids of the training set, in any order, repeated or not; classes are the sorted ids.
        label_smoothing: part of the target spread over all classes.
        margin: the triplet loss's margin (0.3 in Luo et al.); None for the soft margin.
        normalize: whether the triplet loss compares features of unit length. Features that come spread out
            from pre-training have distances of tens, and the triplet loss would drown the identity loss.

    Raises:
        ValueError: the model has another number of classes than pids, or a pid is negative.

    Example:
        >>> model = ReIDModel(nn.Sequential(nn.Flatten(), nn.Linear(12, 4)), dim=4, num_classes=2)
        >>> objective = ReIDObjective(model, pids=[7, 7, 9])
        >>> batch = {"image": torch.randn(4, 3, 2, 2), "pid": torch.tensor([7, 7, 9, 9])}
        >>> sorted(objective(batch))
        ['accuracy', 'id', 'loss', 'triplet']
    """

    pids: Tensor

    def __init__(
        self,
        model: ReIDModel,
        pids: Sequence[int],
        label_smoothing: float = LABEL_SMOOTHING,
        margin: float | None = None,
        normalize: bool = False,
    ) -> None:
        super().__init__()
        classes = torch.as_tensor(pids, dtype=torch.int64).unique()
        if len(classes) != model.num_classes:
            raise ValueError(
                f"the model has num_classes={model.num_classes}, pids hold {len(classes)} identities; "
                "build the ReIDModel with num_classes=len(set(pids))"
            )
        if (classes < 0).any():
            raise ValueError(
                f"pids hold {int(classes[0])}, which marks junk or unlabeled rows; leave those out"
            )
        self.model = model
        self.label_smoothing = label_smoothing
        self.register_buffer("pids", classes)
        distance = LpDistance(normalize_embeddings=normalize)
        self.miner = BatchHardMiner(distance=distance)
        self.triplet = TripletMarginLoss(
            margin=0.0 if margin is None else margin,
            smooth_loss=margin is None,
            distance=distance,
            reducer=MeanReducer(),
        )

    def labels(self, pids: Tensor) -> Tensor:
        """Classes of person ids.

        Args:
            pids: `[b]` int64.

        Returns:
            `[b]` int64 in 0..num_classes-1.

        Raises:
            ValueError: a pid is not in the training set. On a GPU it is a device-side assertion, as a label
                out of range is in torch's own losses: a look from here would wait for the device.
        """
        labels = torch.searchsorted(self.pids, pids).clamp(max=len(self.pids) - 1)
        known = self.pids[labels] == pids
        of = f"which is not among the {len(self.pids)} identities given to ReIDObjective as pids"
        if pids.is_cuda:
            torch._assert_async(known.all(), f"the batch holds a pid {of}")
        elif not known.all():
            raise ValueError(
                f"the batch holds pid {int(pids[~known][0])}, {of}; draw batches from the same manifest"
            )
        return labels

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            batch: "image" `[b 3 h w]` float with "pid" `[b]` int64, or "clip" `[b t 3 h w]` float with
                "clip_pid" (or, alone, "pid") `[b]` int64, or both; pids are the manifest's.

        Returns:
            Scalars "loss" (= id + triplet), "id", "triplet", and "accuracy" in 0..1.

        Raises:
            ValueError: there is neither an image nor a clip, or a pid is unknown.
        """
        inputs, pids = [], []
        if "image" in batch:
            inputs.append(batch["image"])
            pids.append(batch["pid"])
        if "clip" in batch:
            inputs.append(batch["clip"])
            pids.append(batch["clip_pid"] if "clip_pid" in batch else batch["pid"])
        if not inputs:
            raise ValueError(f'the batch has {sorted(batch)}; expected "image", "clip" or both')
        labels = self.labels(torch.cat(pids))
        features = torch.cat([self.model.features(x) for x in inputs])
        logits = self.model.logits(features)
        identity = F.cross_entropy(logits.float(), labels, label_smoothing=self.label_smoothing)
        triplet = self.triplet_loss(features, labels)
        accuracy = (logits.detach().argmax(dim=1) == labels).float().mean()
        return {"loss": identity + triplet, "id": identity, "triplet": triplet, "accuracy": accuracy}

    def triplet_loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Triplet loss over all ranks' features.

        Args:
            features: `[b dim]`.
            labels: `[b]` int64.
        """
        ranks = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        with torch.autocast(features.device.type, enabled=False):  # half precision would blur distances
            features = features.float()
            if ranks > 1:
                features, labels, _ = gather(features, labels)
            triplets = self.miner(features, labels)
            triplet = self.triplet(features, labels, triplets)
        # Each rank's gradient is of its own features alone and DDP averages over ranks: the mean is 1/ranks
        # of it.
        return triplet + (ranks - 1) * (triplet - triplet.detach())
