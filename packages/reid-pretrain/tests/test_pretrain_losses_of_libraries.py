"""Where a library has the same loss, ours gives the same numbers."""

from __future__ import annotations

import pytest
import torch

from reid_pretrain import AlignmentLoss, DINOLoss, KoLeoLoss, MaskingLoss

K = 16


@pytest.fixture
def lightly():
    return pytest.importorskip("lightly.loss", reason="lightly isn't installed: pip install lightly")


def gradients(loss, *inputs):
    return torch.autograd.grad(loss, inputs)


def test_feature_loss_is_lightlys_dino_loss_over_global_and_local_views(lightly):
    torch.manual_seed(0)
    theirs = lightly.DINOLoss(output_dim=K, teacher_temp=0.04, student_temp=0.1, center_momentum=0.9)
    ours = DINOLoss(K)
    for _ in range(3):  # the centres move alike
        teacher = torch.randn(2, 5, K)
        student = torch.randn(2, 5, K, requires_grad=True)
        local = torch.randn(3, 5, K, requires_grad=True)
        rows = torch.cat([student.flatten(0, 1), local.flatten(0, 1)])
        a = ours(rows, teacher, [torch.arange(5)] * len(local))
        b = theirs(list(teacher), [*student, *local])
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(gradients(a, student, local), gradients(b, student, local))
        torch.testing.assert_close(ours.centre.value, theirs.center.flatten())


def test_masking_loss_is_lightlys_ibot_patch_loss(lightly):
    torch.manual_seed(0)
    theirs = lightly.IBOTPatchLoss(output_dim=K, teacher_temp=0.04, student_temp=0.1, center_momentum=0.9)
    ours = MaskingLoss(K)
    for _ in range(3):
        mask = torch.rand(4, 3, 5) < 0.4
        mask[2] = False
        teacher = torch.randn(int(mask.sum()), K)
        student = torch.randn(int(mask.sum()), K, requires_grad=True)
        a, b = ours(student, teacher, mask.flatten(1)), theirs(teacher, student, mask)
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(gradients(a, student), gradients(b, student))
        torch.testing.assert_close(ours.centre.value, theirs.center.value.flatten())


def test_koleo_is_lightlys(lightly):
    torch.manual_seed(0)
    x = torch.randn(12, 8, requires_grad=True)
    a, b = KoLeoLoss()(x), lightly.KoLeoLoss()(x)
    torch.testing.assert_close(a, b)
    torch.testing.assert_close(gradients(a, x), gradients(b, x))


def test_alignment_is_open_clips_loss():
    open_clip = pytest.importorskip("open_clip", reason="open_clip_torch isn't installed")
    torch.manual_seed(0)
    videos, frames = torch.randn(2, 6, 8).requires_grad_().unbind()
    ours = AlignmentLoss()
    a = ours(videos, frames)
    b = open_clip.ClipLoss()(
        torch.nn.functional.normalize(videos, dim=-1),
        torch.nn.functional.normalize(frames, dim=-1),
        ours.log_scale.exp(),
    )
    torch.testing.assert_close(a, b)
    wanted = (videos, frames, ours.log_scale)
    a, b = (torch.autograd.grad(x, wanted, retain_graph=True) for x in (a, b))
    torch.testing.assert_close(a, b)
