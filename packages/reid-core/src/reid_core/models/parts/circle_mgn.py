"""MGN's losses in fast-reid: circle softmax of each feature, and triplets on five after their necks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from reid_core.models.heads import LABEL_SMOOTHING, ReIDObjective
from reid_core.models.parts.branches import BranchedModel
from reid_core.models.parts.mgn import STRIPES

CIRCLE_SCALE, CIRCLE_MARGIN = 64.0, 0.35
"""Of fast-reid's configuration of MGN."""


def circle_logits(
    cosine: Tensor, labels: Tensor, scale: float = CIRCLE_SCALE, margin: float = CIRCLE_MARGIN
) -> Tensor:
    """Logits of the circle loss for classes (Sun et al., CVPR 2020, eqs. 7 to 9, on a classifier's cosines).

    `s a_p (c - 1 + m)` for the right class and `s a_n (c - m)` for the others, with `a_p = max(0, 1 + m - c)`
    and `a_n = max(0, c + m)`, which have no gradient.

    Args:
        cosine: [b classes], similarity of each feature to each class.
        labels: [b] int64.
        scale: s.
        margin: m.

    Example:
        >>> circle_logits(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), scale=1.0, margin=0.25)
        tensor([[ 0.0625, -0.0625]])
    """
    right = functional.one_hot(labels, cosine.shape[1]).bool()
    value = cosine.detach()
    positive = scale * (1 + margin - value).clamp(min=0) * (cosine - 1 + margin)
    negative = scale * (value + margin).clamp(min=0) * (cosine - margin)
    return torch.where(right, positive, negative)


class CircleMGNObjective(nn.Module):
    """Circle softmax of MGN's eight features and triplets on five: the global ones, the halves, the thirds.

    What fast-reid (He et al., arXiv:2006.02631) trains MGN with, all on features after their necks; each kind
    of loss is a mean over its terms. In the first steps the backbone stays as it is.

    Args:
        model: of an `MGNExtractor`, with classifiers.
        pids: person ids of the training set, in any order, repeated or not.
        label_smoothing: part of the target spread over all classes.
        margin: the triplet loss's margin; None for the soft margin.
        frozen_steps: first optimiser steps in which the backbone does not learn.

    Example:
        >>> from reid_core.models.backbones import build_backbone
        >>> from reid_core.models.parts import MGNExtractor
        >>> extractor = MGNExtractor(build_backbone("resnet18", (128, 64)), "fastreid")
        >>> objective = CircleMGNObjective(BranchedModel(extractor, num_classes=2), [4, 9])
        >>> batch = {"image": torch.rand(4, 3, 128, 64), "pid": torch.tensor([4, 4, 9, 9])}
        >>> sorted(objective(batch))
        ['accuracy', 'id', 'loss', 'triplet']
    """

    steps: Tensor

    def __init__(
        self,
        model: BranchedModel,
        pids: Sequence[int],
        label_smoothing: float = LABEL_SMOOTHING,
        margin: float | None = None,
        frozen_steps: int = 0,
    ):
        super().__init__()
        self.model = model
        self.label_smoothing, self.frozen_steps = label_smoothing, frozen_steps
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.first = ReIDObjective(model.heads[0], pids, label_smoothing, margin)  # type: ignore[arg-type]

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            batch: "image" [b 3 h w] float and "pid" [b] int64.

        Returns:
            Scalars "loss" (= id + triplet), "id", "triplet", and the first global feature's "accuracy".
        """
        labels = self.first.labels(batch["pid"])
        heads: Any = self.model.heads
        before = self.model.extractor.reduce_maps(self._maps(batch["image"]))  # type: ignore[operator]
        features = [head.neck(x) for head, x in zip(heads, before, strict=True)]
        cosines = [
            functional.linear(functional.normalize(x.float()), functional.normalize(head.classifier.weight))
            for head, x in zip(heads, features, strict=True)
        ]
        identity = [
            functional.cross_entropy(circle_logits(x, labels), labels, label_smoothing=self.label_smoothing)
            for x in cosines
        ]
        compared, parts = features[: len(STRIPES)], features[len(STRIPES) :]
        for stripes in STRIPES[1:]:
            compared, parts = [*compared, torch.cat(parts[:stripes], dim=1)], parts[stripes:]
        terms = {
            "id": torch.stack(identity).mean(),
            "triplet": torch.stack([self.first.triplet_loss(x, labels) for x in compared]).mean(),
        }
        accuracy = (cosines[0].detach().argmax(dim=1) == labels).float().mean()
        return {"loss": terms["id"] + terms["triplet"], **terms, "accuracy": accuracy}

    def after_step(self, step: int) -> None:
        """Count the optimiser steps.

        Args:
            step: that was just done.
        """
        self.steps.fill_(step + 1)

    def _maps(self, images: Tensor) -> Any:
        """Feature maps; without gradients and batch statistics while it is frozen."""
        extractor: Any = self.model.extractor
        frozen = self.frozen_steps > 0 and bool(self.steps < self.frozen_steps)
        if not frozen:
            self.frozen_steps = 0  # the device is not waited for again
        for module in (extractor.shared, extractor.stages):
            module.train(self.training and not frozen)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            return extractor.maps(images)
