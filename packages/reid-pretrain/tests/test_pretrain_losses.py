"""The four losses against transcriptions of their equations, loop by loop, in double precision."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from reid_pretrain import AlignmentLoss, DINOLoss, KoLeoLoss, MaskingLoss
from reid_pretrain.losses.alignment import MAX_SCALE

K = 7
STUDENT, TEACHER, MOMENTUM = 0.3, 0.2, 0.8  # milder than DINO's, so that no probability vanishes


def assert_same(ours: Callable[..., Tensor], equation: Callable[..., Tensor], *inputs: Tensor) -> None:
    """The losses compute in single precision: same value and gradients up to its rounding."""
    single = [x.float().requires_grad_() for x in inputs]
    double = [x.double().requires_grad_() for x in inputs]
    got, want = ours(*single), equation(*double)
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-6)
    got.backward()
    want.backward()
    for a, b in zip(single, double, strict=True):
        torch.testing.assert_close(a.grad.double(), b.grad, rtol=1e-4, atol=1e-6)


def entropy(teacher: Tensor, student: Tensor, centre: Tensor) -> Tensor:
    """H(a, b) = -sum_j a_j log b_j of one teacher and one student logit vector."""
    a = torch.exp((teacher - centre) / TEACHER)
    a = a / a.sum()
    b = torch.exp(student / STUDENT)
    b = b / b.sum()
    total = torch.zeros((), dtype=student.dtype)
    for j in range(len(a)):
        total = total - a[j] * torch.log(b[j])
    return total


def mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean()


def dino_equation(student, teacher, regions, centre):
    """Eq. 8 over all pairs of views but a view with itself; a single view is paired with itself."""
    pairs = []
    for t in range(len(teacher)):
        for s in range(len(student)):
            if t == s and len(teacher) > 1:
                continue
            terms = [
                entropy(teacher[t, i, n], student[s, i, n], centre)
                for i in range(student.shape[1])
                for n in range(student.shape[2])
            ]
            pairs.append(mean(terms))
        for logits, images in regions:
            terms = [
                entropy(teacher[t, i, n], logits[m, n], centre)
                for m, i in enumerate(images.tolist())
                for n in range(logits.shape[1])
            ]
            if terms:
                pairs.append(mean(terms))
    return mean(pairs)


def dino(**options) -> DINOLoss:
    return DINOLoss(K, STUDENT, TEACHER, MOMENTUM, **options)


@pytest.mark.parametrize("views", [1, 2, 3])
def test_feature_loss_is_the_mean_entropy_over_pairs_of_views(views):
    torch.manual_seed(views)
    student, teacher = torch.randn(2, views, 3, 2, K, dtype=torch.double)
    loss = dino()
    loss.centre.value.copy_(torch.randn(K))
    centre = loss.centre.value.double().clone()
    assert_same(
        lambda s: loss(s.flatten(0, 1), teacher),
        lambda s: dino_equation(s, teacher, [], centre),
        student,
    )


@pytest.mark.parametrize("views", [1, 2])
def test_feature_loss_matches_valid_regions_with_every_teacher_view_of_their_image(views):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, views, 4, 2, K, dtype=torch.double)
    head, torso = torch.randn(3, 2, K, dtype=torch.double), torch.randn(1, 2, K, dtype=torch.double)
    of_head, of_torso, of_legs = (
        torch.tensor([0, 2, 3]),
        torch.tensor([1]),
        torch.tensor([], dtype=torch.long),
    )
    legs = torch.zeros(0, 2, K)  # valid in no image: no pair is made of it
    centre = torch.zeros(K, dtype=torch.double)
    loss = dino()

    images = [of_head, of_torso, of_legs]
    assert_same(
        lambda s, a, b: loss(torch.cat([s.flatten(0, 1), a, b]), teacher, images),
        lambda s, a, b: dino_equation(s, teacher, list(zip([a, b, legs], images, strict=True)), centre),
        student,
        head,
        torso,
    )


def test_feature_loss_refuses_views_that_neither_teacher_nor_regions_account_for():
    with pytest.raises(ValueError, match="got 9 views; expected 2 x 3 global ones.*and 2 local ones"):
        dino()(torch.randn(9, K), torch.randn(2, 3, K), [torch.tensor([0]), torch.tensor([2])])


def test_feature_loss_gives_half_precision_logits_their_gradient_in_it_as_often_as_asked():
    logits = torch.randn(6, K).bfloat16().requires_grad_()
    teacher = torch.randn(2, 3, K)
    loss = dino()(logits, teacher)
    (once,) = torch.autograd.grad(loss, logits, retain_graph=True)
    (again,) = torch.autograd.grad(2 * loss, logits)
    single = logits.detach().float().requires_grad_()
    dino()(single, teacher).backward()
    assert loss.dtype == torch.float32
    assert torch.equal(once, single.grad.bfloat16())
    assert torch.equal(again, 2 * once)


@pytest.mark.parametrize("shape", [(2, 3, K), (2, 3, 4, K)])
def test_the_centre_is_a_running_mean_of_the_teachers_logits_moved_after_the_loss(shape):
    torch.manual_seed(0)
    first, second = torch.randn(2, *shape)
    loss = dino()
    untouched = dino()(first.flatten(0, 1), first)
    assert torch.equal(loss(first.flatten(0, 1), first), untouched)  # the first loss sees the centre at zero
    means = [x.reshape(-1, K).mean(0) for x in (first, second)]
    torch.testing.assert_close(loss.centre.value, (1 - MOMENTUM) * means[0])
    loss(second.flatten(0, 1), second)
    torch.testing.assert_close(
        loss.centre.value, MOMENTUM * (1 - MOMENTUM) * means[0] + (1 - MOMENTUM) * means[1]
    )


def test_the_centre_stays_in_eval_mode():
    loss = dino().eval()
    loss(torch.randn(6, K), torch.randn(2, 3, K))
    assert not loss.centre.value.any()


def test_the_teacher_gets_no_gradient_from_either_distillation_loss():
    student = torch.randn(2, 4, K, requires_grad=True)
    teacher = torch.randn(2, 4, K, requires_grad=True)
    mask = torch.ones(2, 4, dtype=torch.bool)
    loss = dino()(student.flatten(0, 1), teacher)
    loss = loss + MaskingLoss(K)(student.flatten(0, 1), teacher.flatten(0, 1), mask)
    loss.backward()
    assert student.grad.any()
    assert teacher.grad is None


def masking_equation(student, teacher, mask, centre):
    """Eq. 9: the mean over an image's hidden patches, then the mean over images."""
    row, per_image = 0, []
    for image in mask.flatten(1):
        terms = []
        for hidden in image.tolist():
            if hidden:
                terms.append(entropy(teacher[row], student[row], centre))
                row += 1
        per_image.append(mean(terms) if terms else torch.zeros((), dtype=student.dtype))
    assert row == len(student)
    return mean(per_image)


@pytest.mark.parametrize("shape", [(4, 6), (3, 2, 5)])
def test_masking_loss_is_the_mean_over_images_of_the_mean_over_hidden_patches(shape):
    torch.manual_seed(0)
    mask = torch.rand(shape) < 0.5
    mask[1] = False  # an image in which nothing is hidden counts zero
    assert len(set(mask.flatten(1).sum(1).tolist())) > 2  # else the two means are one
    student, teacher = torch.randn(2, int(mask.sum()), K, dtype=torch.double)
    loss = MaskingLoss(K, STUDENT, TEACHER, MOMENTUM)
    loss.centre.value.copy_(torch.randn(K))
    centre = loss.centre.value.double().clone()
    assert_same(
        lambda s: loss(s, teacher, mask),
        lambda s: masking_equation(s, teacher, mask, centre),
        student,
    )
    torch.testing.assert_close(
        loss.centre.value.double(), MOMENTUM * centre + (1 - MOMENTUM) * teacher.mean(0), rtol=1e-5, atol=1e-6
    )


def test_masking_loss_of_nothing_hidden_is_zero_and_attached_to_the_graph():
    weight = torch.randn(3, K, requires_grad=True)
    loss = MaskingLoss(K)
    loss.centre.value.fill_(0.5)
    value = loss(torch.zeros(0, 3) @ weight, torch.zeros(0, K), torch.zeros(2, 4, dtype=torch.bool))
    value.backward()
    assert value.item() == 0.0
    assert torch.equal(weight.grad, torch.zeros_like(weight))
    assert torch.equal(loss.centre.value, torch.full((K,), 0.5))


def koleo_equation(features):
    """Eq. 10: -mean of the log distance to the nearest other feature, on the unit sphere."""
    unit = [x / torch.sqrt((x * x).sum()) for x in features]
    terms = []
    for i, x in enumerate(unit):
        distances = [torch.sqrt(((x - y) ** 2).sum()) for j, y in enumerate(unit) if j != i]
        terms.append(-torch.log(min(distances)))
    return mean(terms)


@pytest.mark.parametrize("number", [2, 9])
def test_koleo_is_the_mean_log_distance_to_the_nearest_neighbour(number):
    torch.manual_seed(0)
    assert_same(KoLeoLoss(), koleo_equation, torch.randn(number, 5, dtype=torch.double))


def test_koleo_of_equal_features_is_finite_and_so_is_its_gradient():
    x = torch.ones(3, 4, requires_grad=True)
    loss = KoLeoLoss()(x)
    loss.backward()
    assert loss.item() > 10
    assert x.grad.isfinite().all()


def test_koleo_of_a_single_feature_says_that_it_needs_a_neighbour():
    with pytest.raises(ValueError, match="batch of 1, expected at least 2"):
        KoLeoLoss()(torch.ones(1, 4))


def alignment_equation(videos, frames, log_scale):
    """Eq. 11 as CLIP's loss: each video among all frames and each frame among all videos."""

    def similarity(x, y):
        return log_scale.exp() * (x * y).sum() / torch.sqrt((x * x).sum() * (y * y).sum())

    terms = []
    for i in range(len(videos)):
        to_frames = torch.stack([similarity(videos[i], frame) for frame in frames])
        to_videos = torch.stack([similarity(video, frames[i]) for video in videos])
        terms += [torch.logsumexp(row, 0) - row[i] for row in (to_frames, to_videos)]
    return mean(terms)


def test_alignment_is_clips_loss_of_videos_and_frames():
    torch.manual_seed(0)
    videos, frames = torch.randn(2, 5, 6, dtype=torch.double)
    loss = AlignmentLoss(temperature=0.5)
    log_scale = torch.tensor(math.log(2.0), dtype=torch.double, requires_grad=True)
    double = [x.clone().requires_grad_() for x in (videos, frames)]
    alignment_equation(*double, log_scale).backward()
    assert_same(loss, lambda v, f: alignment_equation(v, f, log_scale.detach()), videos, frames)
    torch.testing.assert_close(loss.log_scale.grad.double(), log_scale.grad, rtol=1e-4, atol=1e-6)


def test_alignments_scale_is_capped_as_clips_and_can_come_down_again():
    loss = AlignmentLoss()
    with torch.no_grad():
        loss.log_scale.fill_(10.0)
    torch.manual_seed(0)
    loss(torch.randn(4, 3), torch.randn(4, 3)).backward()
    assert loss.log_scale.exp().item() == pytest.approx(MAX_SCALE)
    assert loss.log_scale.grad.item() > 0  # random pairs: a smaller scale lowers the loss


@pytest.mark.parametrize("loss", [KoLeoLoss(), AlignmentLoss(0.01)])
def test_neighbours_and_pairs_are_compared_in_full_precision_under_autocast(loss):
    torch.manual_seed(0)
    x = 1 + 0.01 * torch.randn(2, 16, 8)  # closer to one another than bfloat16 can tell
    inputs = x if isinstance(loss, AlignmentLoss) else x[:1]
    want = loss(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(loss(*inputs), want)


def test_alignment_of_unpaired_rows_names_both_shapes():
    with pytest.raises(ValueError, match=r"videos \(3, 4\) and frames \(2, 4\)"):
        AlignmentLoss()(torch.ones(3, 4), torch.ones(2, 4))
