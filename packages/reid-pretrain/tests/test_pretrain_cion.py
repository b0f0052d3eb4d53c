"""CION's objective: which views go where, the moving average, frozen prototypes, what a state keeps."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from reid_pretrain import CION, CIONConfig, prototype_memory
from reid_pretrain.schedules import cosine

K, IMAGES, LOCALS = 12, 4, 3


class Backbone(nn.Module):
    """The smallest network with a batch norm and dropout that takes images of any size."""

    dim = 6

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Dropout(0.5)

    def forward(self, x):
        return SimpleNamespace(cls=self.drop(self.norm(self.conv(x)).relu().mean((2, 3))))


def objective(**settings) -> CION:
    torch.manual_seed(0)
    sizes = {"prototypes": K, "head_hidden": 16, "head_bottleneck": 5}
    return CION(Backbone(), CIONConfig(**{**sizes, **settings}), steps=10)


def batch() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {
        "global": torch.randn(IMAGES, 2, 3, 8, 4),
        "local": torch.randn(IMAGES, LOCALS, 3, 4, 2),
        "pid": torch.tensor([3, 3, 8, 8]),
    }


def test_the_student_sees_all_views_and_the_teacher_the_global_ones():
    cion, seen = objective(), {"student": [], "teacher": []}
    for name, sizes in seen.items():
        backbone = getattr(cion, name).backbone
        backbone.register_forward_pre_hook(lambda _, args, sizes=sizes: sizes.append(tuple(args[0].shape)))
    cion(batch())
    assert seen["teacher"] == [(8, 3, 8, 4)]
    assert seen["student"] == [(8, 3, 8, 4), (12, 3, 4, 2)]


def test_the_loss_is_that_of_the_views_logits_image_by_image():
    cion, given = objective().eval(), batch()
    views = [*given["global"].unbind(1), *given["local"].unbind(1)]
    student = torch.stack([cion.student.head(cion.student.backbone(view).cls) for view in views])
    teacher = torch.stack([cion.teacher.head(cion.teacher.backbone(view).cls) for view in views[:2]])
    torch.testing.assert_close(cion(given)["loss"], cion.loss(student, teacher, given["pid"]))


def test_without_pids_each_image_is_on_its_own():
    cion, given = objective().eval(), batch()
    apart = cion({**given, "pid": torch.arange(IMAGES)})["loss"]
    together = cion(given)["loss"]
    del given["pid"]
    assert torch.equal(cion(given)["loss"], apart) and not torch.equal(apart, together)


def test_of_the_teacher_batch_norms_alone_train():
    cion = objective().train()
    teacher = cion.teacher.backbone
    assert teacher.norm.training and not teacher.drop.training and cion.student.backbone.drop.training
    assert not cion.eval().teacher.backbone.norm.training


def test_gradients_reach_the_student_alone():
    cion = objective()
    cion(batch())["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in cion.student.parameters())
    assert cion.student.backbone.conv.weight.grad.any()
    assert all(p.grad is None for p in cion.teacher.parameters())


@pytest.mark.parametrize("step", [0, 9])
def test_the_teacher_moves_by_the_moving_average(step):
    cion = objective(momentum=0.9)
    with torch.no_grad():
        for parameter in cion.student.parameters():
            parameter.add_(1)
    before = [p.clone() for p in cion.teacher.parameters()]
    cion.after_step(step)
    momentum = cosine(0.9, 1.0, step, 10)
    for old, student, new in zip(before, cion.student.parameters(), cion.teacher.parameters(), strict=True):
        torch.testing.assert_close(new, momentum * old + (1 - momentum) * student)
    assert cion.step == step + 1


@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_head_has_batch_norms_where_asked_for(batch_norm):
    head = objective(head_batch_norm=batch_norm).student.head
    assert any(isinstance(module, nn.BatchNorm1d) for module in head.modules()) == batch_norm


def test_prototypes_are_frozen_for_the_first_steps_only():
    cion = objective(freeze_prototypes_steps=1)
    weight = cion.student.head.prototypes.weight
    cion(batch())["loss"].backward()
    assert weight.grad is None
    cion.after_step(0)
    cion(batch())["loss"].backward()
    assert weight.grad.any()


def test_a_saved_state_goes_on_where_it_was():
    cion, other = objective(), objective()
    cion(batch())
    cion.after_step(4)
    other.load_state_dict(cion.state_dict())
    assert other.step == 5 and other.loss.centre.value.any()
    assert torch.equal(cion.eval()(batch())["loss"], other.eval()(batch())["loss"])


def test_a_few_steps_towards_a_teacher_that_stays_lower_the_loss():
    cion, given = objective(momentum=1.0), batch()
    optimizer = torch.optim.AdamW(cion.student.parameters(), lr=1e-2)
    first = cion.eval()(given)["loss"].item()
    for step in range(40):
        optimizer.zero_grad()
        cion(given)["loss"].backward()
        optimizer.step()
        cion.after_step(step)
    assert cion(given)["loss"].item() < 0.8 * first


def test_the_memory_of_the_prototypes_grows_with_them_and_with_the_batch():
    config = CIONConfig()
    assert prototype_memory(config, 64) > 4 * 65_536 * (10 * 64 + 4 * 256)
    assert prototype_memory(CIONConfig(prototypes=2 * 65_536), 64) == 2 * prototype_memory(config, 64)
    assert prototype_memory(config, 128) > prototype_memory(config, 64)
