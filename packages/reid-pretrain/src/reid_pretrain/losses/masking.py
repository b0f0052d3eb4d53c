"""The masking loss: the student infers hidden tokens (VILLS Eq. 9, iBOT)."""

from __future__ import annotations

from torch import Tensor, nn

from reid_pretrain.losses.distillation import Centre, cross_entropy


class MaskingLoss(nn.Module):
    """Cross-entropy between the unmasked teacher's and the masked student's distributions of hidden patches.

    The paper writes mask(z^s) and takes iBOT (Zhou et al., ICLR 2022) and DINOv2 as its base. Patches are
    hidden at the encoder's input and the loss is on the encoder's patch tokens, before the resampler, since
    the resampled ones have no place in the image. As in iBOT, an image's loss is the mean over its hidden
    patches and the loss is the mean over images; an image without hidden patches counts zero.

    Args:
        dim: K, the prototypes.
        student_temperature: 0.1 (iBOT).
        teacher_temperature: 0.04 (iBOT before its warm-up to 0.07).
        centre_momentum: 0.9 (iBOT).

    Example:
        >>> import torch
        >>> tokens, mask = torch.eye(6)[None], torch.ones(1, 6, dtype=torch.bool)
        >>> round(MaskingLoss(6)(tokens[mask], tokens[mask], mask).item(), 3)
        0.0
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

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor, hidden: Tensor | None = None) -> Tensor:
        """
        Args:
            student: logits of the hidden patches in raster order, float [m k], m = mask.sum().
            teacher: logits of the same patches, float [m k].
            mask: bool [b n] (or [b t n]), True where a patch was hidden.
            hidden: int64 [m], places of the hidden patches in the flattened mask; None looks, and waits for
                the device.

        Returns:
            A scalar; zero, still attached to the student, where nothing is hidden. In training mode the
            centre moves after it.
        """
        loss = cross_entropy(student, [self.centre(teacher)], [None], self.student_temperature)
        flat = mask.flatten(1)
        if hidden is None:
            hidden = flat.flatten().nonzero()[:, 0]
        weight = (1.0 / flat.sum(1).clamp(min=1))[hidden // flat.shape[1]]
        if self.training:
            self.centre.update(teacher)
        return (loss * weight).sum() / len(flat)
