"""The feature loss: self-distillation with centring and sharpening (VILLS Eq. 8, DINO)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reid_pretrain.distributed import sum_across_ranks, world_size
from reid_pretrain.losses.distillation import Centre, cross_entropy


class DINOLoss(nn.Module):
    """Cross-entropy between the teacher's and the student's distributions, over pairs of views (Eq. 8).

    Every student view is matched with every teacher view but itself. Where the teacher has a single view, it
    is matched with the student's view of the same image too, as the equation says; masking and the teacher's
    moving average keep this from being trivial. Two or more views follow DINO (Caron et al., ICCV 2021). The
    sum over teacher views is taken once, so the cost grows with the student's views alone: sum over t != s of
    -p_t log q_s is (p_s - sum over t of p_t) log q_s.

    Args:
        dim: K, the prototypes.
        student_temperature: DINO's 0.1.
        teacher_temperature: DINO's 0.04.
        centre_momentum: DINO's 0.9.

    Example:
        >>> loss = DINOLoss(8)
        >>> views = torch.eye(8)[:4, None]  # of 4 images, 1 token, 8 prototypes
        >>> loss(views, views[None]).item() < 1e-3  # 1 view of each
        True
    """

    def __init__(
        self,
        dim: int,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        centre_momentum: float = 0.9,
    ):
        super().__init__()
        self.student_temperature = student_temperature
        self.centre = Centre(dim, teacher_temperature, centre_momentum)

    def forward(self, student: Tensor, teacher: Tensor, regions: Sequence[Tensor] = ()) -> Tensor:
        """
        Args:
            student: logits of the global views, view after view, and of the local ones, area after area, as
                one call of the head gives them: float [g*b+m ... k].
            teacher: logits of the global views, float [g b ... k].
            regions: of each area the images that its local views were cut from, int in 0..b-1: one for each
                valid region, m in all.

        Returns:
            The mean over pairs of views of the mean over images (and tokens), a scalar. With several ranks
            the mean over ranks is that of the whole batch. In training mode the centre moves after it.

        Raises:
            ValueError: the student has more or fewer views than the teacher's and the regions are.
        """
        views, images = teacher.shape[:2]
        counts = [len(image) for image in regions]
        if len(student) != views * images + sum(counts):
            raise ValueError(
                f"student: got {len(student)} views; expected {views} x {images} global ones, as the teacher "
                f"has, and {sum(counts)} local ones, as regions says"
            )
        target = self.centre(teacher)
        every = target.sum(0)
        others = (every - target if views > 1 else target).flatten(0, 1)
        losses = cross_entropy(
            student, [others, *[every] * len(counts)], [None, *regions], self.student_temperature
        )
        globals_, *locals_ = losses.split([len(others), *counts])
        pairs: Tensor | int = views * max(views - 1, 1)
        terms = [globals_.unflatten(0, (views, images)).flatten(1).mean(1).sum()]
        if counts:
            # An area counts where any rank has a valid region of it, and its mean is over all ranks' regions.
            numbers = [torch.full((), float(count), device=student.device) for count in counts]
            valid = sum_across_ranks(torch.stack(numbers))
            for of_area, number in zip(locals_, valid, strict=True):
                share = world_size() / (number.clamp(min=1) * of_area.shape[1:].numel())
                terms.append(of_area.sum() * share)
            pairs = pairs + views * (valid > 0).sum()
        if self.training:
            self.centre.update(teacher)
        return torch.stack(terms).sum() / pairs
