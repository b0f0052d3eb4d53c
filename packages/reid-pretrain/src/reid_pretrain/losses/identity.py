"""The identity-guided loss: all views of all images of a person belong together (CION Eqs. 8-9)."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor, nn

from reid_pretrain.config import Weighting
from reid_pretrain.indices import index_people
from reid_pretrain.losses.distillation import Centre, full_precision


class IdentityGuidedLoss(nn.Module):
    """Cross-entropy between teacher and student over pairs of views of all images of a person (CION Eq. 9).

    For a person with N_id images, each with g global views x that the teacher sees and v views x' that the
    student sees (the global ones first),

        sum over images i, j, global views x of i and views x' != x of j of H(P_T(x), P_S(x')),

    where H(a, b) = -a log b. It is linear in the teacher's probabilities and in the student's
    log-probabilities, so the sums over images and views are taken before the product. The cost does not grow
    with N_id, and there is no product per pair of views. With one image per person it is DINO's loss (Caron
    et al., ICCV 2021).

    Zuo et al., "Cross-video Identity Correlating for Person Re-identification Pre-training", NeurIPS 2024.

    Args:
        dim: K, the prototypes.
        weighting: "paper" is the mean over Eq. 9's terms. "released" is the mean that the authors' code
            takes: for each pair of a global view and another view number, a person's terms of one image are
            averaged and those of two different images are added up; the sum is divided by
            N_id (N_id - 1) + 1. It leaves out pairs of different images under the same view number.
        student_temperature: tau_s (DINO: 0.1).
        teacher_temperature: tau_t (DINO: 0.04).
        centre_momentum: of the running mean that centres the teacher (DINO: 0.9).

    Raises:
        ValueError: an unknown weighting.

    Example:
        >>> loss = IdentityGuidedLoss(dim=8)
        >>> teacher, student = torch.zeros(2, 4, 8), torch.zeros(5, 4, 8)  # 2 and 5 views of 4 images
        >>> round(loss(student, teacher, torch.tensor([7, 7, 9, 9])).item(), 4)  # all alike: log 8
        2.0794
    """

    def __init__(
        self,
        dim: int,
        weighting: Weighting = "paper",
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        centre_momentum: float = 0.9,
    ):
        super().__init__()
        if weighting not in get_args(Weighting):
            raise ValueError(f"weighting={weighting!r}: expected one of {', '.join(get_args(Weighting))}")
        self.weighting = weighting
        self.student_temperature = student_temperature
        self.centre = Centre(dim, teacher_temperature, centre_momentum)

    def forward(
        self, student: Tensor, teacher: Tensor, pids: Tensor | None = None, people: int | None = None
    ) -> Tensor:
        """
        Args:
            student: logits of all views, the global ones first, float [v b k].
            teacher: logits of the global views, float [g b k], g <= v.
            pids: whom each image shows, int64 [b]; None takes each image for a person of its own (DINO).
            people: how many people there are, where pids are their numbers from 0 as `index_people` makes
                them; None looks, and waits for the device.

        Returns:
            The mean over the people of the batch, a scalar; where ranks have equally many people, the mean
            over ranks is that over all of them. In training mode the centre moves after it.

        Raises:
            ValueError: shapes that don't belong together, or a single view with no other to go with.
        """
        views, batch = student.shape[:2]
        count = len(teacher)
        if student.shape[1:] != teacher.shape[1:] or not 1 <= count <= views:
            raise ValueError(
                f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)}: expected [v b k] and "
                "[g b k] of the same images, g of 1..v"
            )
        if pids is None:
            person, people = torch.arange(batch, device=student.device), batch
        elif people is None:
            person, people = index_people(pids)
        else:
            person = pids
        images = person.new_zeros(people).index_add(0, person, torch.ones_like(person))
        if views == 1 and (self.weighting == "released" or (images == 1).any()):
            raise ValueError("a single view has no other view to be compared with: give more views")

        def of_person(x: Tensor) -> Tensor:
            """[b ...] -> [people ...]: sums over each person's images."""
            return x.new_zeros(people, *x.shape[1:]).index_add(0, person, x)

        target = self.centre(teacher)
        with torch.autocast(student.device.type, enabled=False):
            logits = full_precision(student) / self.student_temperature
            norm = logits.logsumexp(-1)
            targets, students, norms = target.sum(0), logits.sum(0), norm.sum(0)  # over views, [b ...]
            itself = of_person(_entropy(target, logits[:count], norm[:count]).sum(0))
            pairs = _entropy(of_person(targets), of_person(students), of_person(norms))
            if self.weighting == "paper":
                loss = (pairs - itself) / (count * images * (views * images - 1))
            else:
                same_image = of_person(_entropy(targets, students, norms)) - itself
                for view, x, z in zip(target, logits, norm, strict=False):
                    pairs = pairs - _entropy(of_person(view), of_person(x), of_person(z))
                terms = (images * (images - 1) + 1) * count * (views - 1)
                loss = (pairs - same_image + same_image / images) / terms
        if self.training:
            self.centre.update(teacher)
        return loss.mean()


def _entropy(target: Tensor, logits: Tensor, norm: Tensor) -> Tensor:
    """Sum of -a log b over pairs of an a and a b, from the sums of the a, of the logits and of their norms.

    log b = logits - norm, the log-sum-exp; each a sums up to one, so the sum of `target` is their number.
    """
    return target.sum(-1) * norm - (target * logits).sum(-1)
