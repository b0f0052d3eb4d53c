"""The identity-guided loss against transcriptions of CION's Eq. 9 and of the released code, in double."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from reid_pretrain import DINOLoss, IdentityGuidedLoss

K, PEOPLE, GLOBALS = 9, 3, 2
STUDENT, TEACHER = 0.3, 0.2  # milder than DINO's, so that no probability vanishes


def entropy(teacher: Tensor, student: Tensor, centre: Tensor) -> Tensor:
    """H(P_T(x), P_S(x')) of one teacher and one student logit vector (Eq. 8)."""
    a = ((teacher - centre) / TEACHER).softmax(-1)
    return -(a * (student / STUDENT).log_softmax(-1)).sum()


def paper(student: Tensor, teacher: Tensor, centre: Tensor, people: list[list[int]]) -> Tensor:
    """The mean of Eq. 9's terms for each person, and of that over people."""
    values = []
    for images in people:
        terms = [
            entropy(teacher[x, i], student[other, j], centre)
            for i in images
            for j in images
            for x in range(len(teacher))
            for other in range(len(student))
            if (x, i) != (other, j)
        ]
        values.append(torch.stack(terms).mean())
    return torch.stack(values).mean()


def released(student: Tensor, teacher: Tensor, centre: Tensor, people: list[list[int]]) -> Tensor:
    """For each teacher view and other student view: the batch's mean of terms of one image, plus for each
    pair of places in a person's images the mean over people, over N_id (N_id - 1) + 1."""
    instances, pairs = len(people[0]), []
    for x in range(len(teacher)):
        for other in range(len(student)):
            if x == other:
                continue
            batch = [i for images in people for i in images]
            loss = torch.stack([entropy(teacher[x, i], student[other, i], centre) for i in batch]).mean()
            for i in range(instances):
                for j in range(instances):
                    if i != j:
                        of_people = [
                            entropy(teacher[x, images[i]], student[other, images[j]], centre)
                            for images in people
                        ]
                        loss = loss + torch.stack(of_people).mean()
            pairs.append(loss / (instances * (instances - 1) + 1))
    return torch.stack(pairs).mean()


EQUATIONS = {"paper": paper, "released": released}


def inputs(instances: int, views: int = 4) -> tuple[Tensor, Tensor, Tensor, list[list[int]]]:
    torch.manual_seed(instances)
    pids = torch.arange(PEOPLE).repeat_interleave(instances) * 5 + 2
    student = torch.randn(views, len(pids), K, dtype=torch.double, requires_grad=True)
    teacher = torch.randn(GLOBALS, len(pids), K, dtype=torch.double)
    people = [(pids == pid).nonzero().flatten().tolist() for pid in pids.unique()]
    return student, teacher, pids, people


def build(weighting: str) -> IdentityGuidedLoss:
    loss = IdentityGuidedLoss(K, weighting, STUDENT, TEACHER).double()
    loss.centre.value.copy_(torch.randn(K))
    return loss


@pytest.mark.parametrize("weighting", EQUATIONS)
@pytest.mark.parametrize("instances", [1, 2, 4, 8])
def test_value_and_gradient_are_those_of_the_loop_over_pairs(weighting, instances):
    student, teacher, pids, people = inputs(instances)
    loss = build(weighting)
    centre = loss.centre.value.clone()
    got = loss(student, teacher, pids)
    (gradient,) = torch.autograd.grad(got, student)
    want = EQUATIONS[weighting](student, teacher, centre, people)
    (expected,) = torch.autograd.grad(want, student)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-9)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-9)
    assert expected.any()


@pytest.mark.parametrize("weighting", EQUATIONS)
def test_the_images_of_a_person_may_stand_anywhere_in_the_batch(weighting):
    student, teacher, pids, _ = inputs(4)
    order = torch.randperm(len(pids))
    loss = build(weighting).eval()
    want = loss(student, teacher, pids)
    torch.testing.assert_close(loss(student[:, order], teacher[:, order], pids[order]), want)


def test_people_with_different_numbers_of_images_count_equally():
    student, teacher, pids, _ = inputs(4)
    pids = torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2])
    people = [(pids == pid).nonzero().flatten().tolist() for pid in pids.unique()]
    loss = build("paper").eval()
    want = paper(student, teacher, loss.centre.value, people)
    torch.testing.assert_close(loss(student, teacher, pids), want)


@pytest.mark.parametrize("weighting", EQUATIONS)
def test_without_identities_it_is_dinos_loss(weighting):
    student, teacher, _, _ = inputs(2, views=GLOBALS)
    loss, dino = build(weighting), DINOLoss(K, STUDENT, TEACHER).double()
    dino.centre.load_state_dict(loss.centre.state_dict())
    for _ in range(2):  # the second time with the centre moved
        torch.testing.assert_close(loss(student, teacher), dino(student.flatten(0, 1), teacher))
    torch.testing.assert_close(loss.centre.value, dino.centre.value)


def test_the_teacher_gets_no_gradient():
    student, teacher, pids, _ = inputs(2)
    teacher.requires_grad_()
    build("paper")(student, teacher, pids).backward()
    assert student.grad.any() and teacher.grad is None


def test_half_precision_is_summed_in_full():
    student, teacher, pids, _ = inputs(8)
    loss = IdentityGuidedLoss(K).eval()
    want = loss(student.half().float(), teacher.half().float(), pids)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(loss(student.half(), teacher.half(), pids), want)


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        ((4, 6, K), (2, 5, K), r"student \(4, 6, 9\) and teacher \(2, 5, 9\)"),
        ((1, 6, K), (2, 6, K), "g of 1..v"),
        ((1, 6, K), (1, 6, K), "give more views"),
    ],
)
def test_what_does_not_belong_together_is_an_error(student, teacher, message):
    with pytest.raises(ValueError, match=message):
        IdentityGuidedLoss(K)(torch.zeros(student), torch.zeros(teacher))


def test_an_unknown_weighting_names_those_there_are():
    with pytest.raises(ValueError, match="weighting='mean': expected one of paper, released"):
        IdentityGuidedLoss(K, "mean")
