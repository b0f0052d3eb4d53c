"""A re-identification model of several features, each with its own BNNeck, and their weighted losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from reid_core.models.heads import LABEL_SMOOTHING, ReIDModel, ReIDObjective


class Branch(NamedTuple):
    """One feature of an extractor and what it counts for.

    Attributes:
        dim: length of the feature.
        id: weight of its identity loss.
        triplet: weight of its triplet loss; 0 leaves it out.
        descriptor: what it is multiplied by in the descriptor.
    """

    dim: int
    id: float = 1.0
    triplet: float = 1.0
    descriptor: float = 1.0


class BranchedModel(nn.Module):
    """An extractor of several features, each with a BNNeck and a classifier of its own (`heads.ReIDModel`).

    Args:
        extractor: module with an attribute `branches`, a sequence of `Branch`; called on images `[b 3 h w]`,
            and on `camid` `[b]` int64 where there is one, it returns a float `[b dim]` for each of them.
        num_classes: number of training identities; 0 for a model without classifiers, for retrieval alone.
        descriptor: whether features "after" or "before" their necks are compared at test time.

    Example:
        >>> class Halves(nn.Module):
        ...     branches = (Branch(3), Branch(3))
        ...
        ...     def forward(self, x):
        ...         return x.mean((2, 3)), x.amax((2, 3))
        >>> BranchedModel(Halves(), num_classes=2).eval()(torch.rand(5, 3, 4, 2)).shape
        torch.Size([5, 6])
    """

    def __init__(
        self, extractor: nn.Module, num_classes: int, descriptor: Literal["after", "before"] = "after"
    ):
        super().__init__()
        self.extractor, self.descriptor = extractor, descriptor
        self.branches: tuple[Branch, ...] = tuple(extractor.branches)  # type: ignore[arg-type]
        self.heads = nn.ModuleList(
            ReIDModel(nn.Identity(), branch.dim, num_classes, descriptor) for branch in self.branches
        )

    @property
    def camids(self) -> Tensor | None:
        """Cameras [c] that the extractor knows by side information; None where it takes images alone."""
        return getattr(self.extractor, "camids", None)

    def features(self, x: Tensor, camid: Tensor | None = None) -> Sequence[Tensor]:
        """Each branch's feature before its neck, `[b dim]`."""
        return self.extractor(x) if camid is None else self.extractor(x, camid)

    def forward(self, x: Tensor, camid: Tensor | None = None) -> Tensor:
        """The descriptor for retrieval: all features, weighted, of unit length together.

        Args:
            x: images `[b 3 h w]`, float.
            camid: camera ids `[b]` int64 where the extractor takes them, or None.

        Returns:
            `[b sum of dims]`, float.
        """
        parts = [
            branch.descriptor * (head.neck(feature) if self.descriptor == "after" else feature)  # type: ignore[operator]
            for branch, head, feature in zip(self.branches, self.heads, self.features(x, camid), strict=True)
        ]
        return functional.normalize(torch.cat(parts, dim=1).float(), dim=1)

    def without_classifier(self) -> BranchedModel:
        """The same extractor and necks as a model for retrieval alone, which is what a model folder holds.

        Returns:
            A model that shares this one's weights.
        """
        model = BranchedModel(self.extractor, 0, self.descriptor)
        model.heads = nn.ModuleList(head.without_classifier() for head in self.heads)  # type: ignore[operator]
        return model


class BranchedObjective(nn.Module):
    """Weighted identity and batch-hard triplet losses of a model's branches: `heads.ReIDObjective` of each.

    Args:
        model: the model with its branches.
        pids: person ids of the training set, in any order, repeated or not.
        label_smoothing: part of the target spread over all classes.
        margin: the triplet loss's margin; None for the soft margin.

    Raises:
        ValueError: the model has another number of classes than pids, or a pid is negative.
    """

    def __init__(
        self,
        model: BranchedModel,
        pids: Sequence[int],
        label_smoothing: float = LABEL_SMOOTHING,
        margin: float | None = None,
    ):
        super().__init__()
        self.model = model
        self.objectives = nn.ModuleList(
            ReIDObjective(head, pids, label_smoothing, margin)  # type: ignore[arg-type]
            for head in model.heads
        )

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            batch: "image" `[b 3 h w]` float, "pid" `[b]` int64, and "camid" `[b]` int64 if the model has
                `camids`.

        Returns:
            Scalars "loss" (= id + triplet), "id" and "triplet" (weighted sums), and the first branch's
            "accuracy".
        """
        camid = batch["camid"] if self.model.camids is not None else None
        features = self.model.features(batch["image"], camid)
        terms = [
            objective({"image": feature, "pid": batch["pid"]})
            for objective, feature in zip(self.objectives, features, strict=True)
        ]
        pairs = list(zip(self.model.branches, terms, strict=True))
        identity = torch.stack([branch.id * term["id"] for branch, term in pairs]).sum()
        triplets = [branch.triplet * term["triplet"] for branch, term in pairs if branch.triplet]
        triplet = torch.stack(triplets).sum() if triplets else identity.new_zeros(())
        return {
            "loss": identity + triplet,
            "id": identity,
            "triplet": triplet,
            "accuracy": terms[0]["accuracy"],
        }
