"""CION's objective: student, teacher and the identity-guided loss between their views (section 3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from reid_pretrain.config import CIONConfig
from reid_pretrain.heads import PrototypeHead
from reid_pretrain.indices import index_people
from reid_pretrain.losses.identity import IdentityGuidedLoss
from reid_pretrain.teacher import SelfDistillation

FLOAT = 4
"""Bytes of a float32."""


class Branch(nn.Module):
    """A student or a teacher: a backbone and DINO's head."""

    def __init__(self, backbone: nn.Module, dim: int, config: CIONConfig):
        super().__init__()
        self.backbone = backbone
        sizes = (config.prototypes, config.head_hidden, config.head_bottleneck)
        self.head = PrototypeHead(dim, *sizes, batch_norm=config.head_batch_norm)

    def forward(self, views: list[Tensor], freeze_prototypes: bool = False) -> Tensor:
        """Views [b v 3 h w], a list by size -> logits of all of them, in order, [v b k]."""
        features = []
        for x in views:
            tokens = self.backbone(rearrange(x, "b v c h w -> (v b) c h w"))
            features.append(rearrange(tokens.cls, "(v b) d -> v b d", b=len(x)))
        return self.head(torch.cat(features), freeze_prototypes)


class CION(SelfDistillation):
    """Identity-guided self-distillation of any backbone, CNN or transformer (CION 3.3, Eqs. 8-9).

    The teacher sees the global views, the student all of them; all views of all images of a person are to
    agree. The teacher is the student's moving average; its batch norms take the batch's statistics and it has
    no dropout. One image per person, or a batch without "pid", is DINO.

    Args:
        backbone: `backbone(images [b 3 h w])` returns an object with `cls` [b d]; it has an attribute `dim`.
            It is the student's start, the teacher's is a copy.
        config: settings.
        steps: optimiser steps of the whole training, for the momentum schedule.

    Example:
        >>> from types import SimpleNamespace
        >>> class Mean(nn.Module):
        ...     dim = 3
        ...
        ...     def forward(self, x):
        ...         return SimpleNamespace(cls=x.mean((2, 3)))
        >>> cion = CION(Mean(), CIONConfig(prototypes=16, head_hidden=8, head_bottleneck=4))
        >>> views = {"global": torch.rand(4, 2, 3, 8, 4), "local": torch.rand(4, 3, 3, 4, 2)}
        >>> cion({**views, "pid": torch.tensor([1, 1, 5, 5])})["loss"].shape
        torch.Size([])
    """

    student: Branch
    teacher: Branch

    def __init__(self, backbone: nn.Module, config: CIONConfig | None = None, steps: int = 1):
        config = config or CIONConfig()
        dim: Any = backbone.dim
        student = Branch(backbone, dim, config)
        super().__init__(student, steps, config.momentum, config.freeze_prototypes_steps)
        self.config = config
        self.loss = IdentityGuidedLoss(
            config.prototypes,
            config.weighting,
            config.student_temperature,
            config.teacher_temperature,
            config.centre_momentum,
        )

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """
        Args:
            batch: "global" float [b g 3 h w], "local" float [b v 3 h' w'] if there are local views, "pid"
                int64 [b] if images of a person go together. With "person" int64 [b] and "people" int, which
                `index_people` makes of the pids on the host, the step never waits for the device.

        Returns:
            `loss` (Eq. 9).
        """
        views = [batch[name] for name in ("global", "local") if name in batch]
        person, people = batch.get("person"), batch.get("people")
        if person is None and "pid" in batch:
            person, people = index_people(batch["pid"])
        with torch.no_grad():
            teacher = self.teacher(views[:1])
        student = self.student(views, self.freeze_prototypes)
        return {"loss": self.loss(student, teacher, person, people)}


def prototype_memory(config: CIONConfig, images: int, global_views: int = 2, local_views: int = 8) -> int:
    """Bytes that the prototypes take in training with AdamW in float32, backbones and MLPs not counted.

    The prototypes themselves are there eight times (student, teacher, both of unit length, two gradients,
    two moments), the student's logits five times (as they are, over the temperature, their gradients, and one
    intermediate), the teacher's three times.

    Args:
        config: of the objective.
        images: on one device.
        global_views, local_views: of an image.

    Returns:
        The number of bytes, an estimate.

    Example:
        >>> round(prototype_memory(CIONConfig(), images=64) / 2**30, 1)
        1.4
    """
    weights = 8 * config.head_bottleneck
    logits = images * (5 * (global_views + local_views) + 3 * global_views)
    return FLOAT * config.prototypes * (weights + logits)
