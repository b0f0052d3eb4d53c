"""A student that learns by gradient and a teacher that is its moving average."""

from __future__ import annotations

import copy
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from reid_pretrain.schedules import cosine


class SelfDistillation(nn.Module):
    """Student, teacher and the step they are at: what VILLS and CION share.

    Args:
        student: the student; the teacher is a copy.
        steps: optimiser steps of the whole training, for the momentum schedule.
        momentum: of the teacher at the first step, 1 at the last by a cosine (DINO: 0.996).
        freeze_prototypes_steps: steps in which the prototypes don't learn.

    Attributes:
        freeze_prototypes: whether they don't learn now; on the host, so that no step waits for the device.
    """

    step: Tensor

    def __init__(self, student: nn.Module, steps: int, momentum: float, freeze_prototypes_steps: int):
        super().__init__()
        self.steps, self.momentum, self.freeze_prototypes_steps = steps, momentum, freeze_prototypes_steps
        self.student = student
        self.teacher = copy.deepcopy(student).requires_grad_(False)
        _settle(self.teacher, self.training)
        self.register_buffer("step", torch.zeros((), dtype=torch.long))
        self.freeze_prototypes = freeze_prototypes_steps > 0
        self.register_load_state_dict_post_hook(_resume)

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`, but of the teacher only batch norms train: it drops nothing."""
        super().train(mode)
        _settle(self.teacher, mode)
        return self

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """The teacher follows the student; call it after optimiser step number `step` (from 0)."""
        momentum = cosine(self.momentum, 1.0, step, self.steps)
        pairs = zip(self.teacher.parameters(), self.student.parameters(), strict=True)
        teacher, student = zip(*pairs, strict=True)
        torch._foreach_lerp_(list(teacher), list(student), 1 - momentum)
        self.step.fill_(step + 1)
        self.freeze_prototypes = step + 1 < self.freeze_prototypes_steps


def _settle(teacher: nn.Module, mode: bool) -> None:
    teacher.eval()
    for module in teacher.modules():
        if isinstance(module, _BatchNorm):
            module.train(mode)


def _resume(module: Any, _: Any) -> None:
    """After a state is loaded: the step on the device says whether the prototypes learn."""
    module.freeze_prototypes = int(module.step) < module.freeze_prototypes_steps
