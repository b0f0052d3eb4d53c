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
    is matched with the student's view of the same image too, which masking and the teacher's moving average
    keep from being trivial: that is literal, while two or more views follow DINO (Caron et al.,
    ICCV 2021). The sum over teacher views is taken once, so the cost grows with the student's views alone.

    Args:
        dim: K, the prototypes.
        student_temperature: DINO's 0.1.
        teacher_temperature: DINO's 0.04.
        centre_momentum: DINO's 0.9.

    Example:
        >>> loss = DINOLoss(8)
        >>> views = torch.eye(8)[None, :4, None]  # 1 view, 4 images, 1 token, 8 prototypes
        >>> loss(views, views).item() < 1e-3
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

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        regions: Sequence[tuple[Tensor, Tensor]] = (),
    ) -> Tensor:
        """
        Args:
            student: logits of the global views, float [g b ... k].
            teacher: logits of the same views, float [g b ... k].
            regions: pairs of the student's logits of local views, float [m ... k], and the images that they
                were cut from, int [m] in 0..b-1: one pair per area, only its valid regions.

        Returns:
            The mean over pairs of views of the mean over images (and tokens), a scalar. With several ranks
            the mean over ranks is that of the whole batch. In training mode the centre moves after it.
        """
        target = self.centre(teacher)
        every = target.sum(0)
        views = len(target)
        others = every - target if views > 1 else target
        count = max(views - 1, 1)
        terms = [cross_entropy(others, student, self.student_temperature).flatten(1).mean(1).sum()]
        pairs: Tensor | int = views * count
        if regions:
            # An area counts where any rank has a valid region of it, and its mean is over all ranks' regions.
            numbers = [torch.full((), float(len(image)), device=student.device) for _, image in regions]
            valid = sum_across_ranks(torch.stack(numbers))
            for (logits, image), number in zip(regions, valid, strict=True):
                losses = cross_entropy(every[image], logits, self.student_temperature)
                share = world_size() / (number.clamp(min=1) * losses.shape[1:].numel())
                terms.append(losses.sum() * share)
            pairs = pairs + views * (valid > 0).sum()
        if self.training:
            self.centre.update(teacher)
        return torch.stack(terms).sum() / pairs
