"""TransReID's side information embedding (SIE): a learned vector a camera, added to the tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

SIE_WEIGHT = 3.0
"""lambda of TransReID (He et al. 2021, section 4.2, person data sets)."""


class SideInformation(nn.Module):
    """A camera's embedding times a weight: what `ViTEncoder` takes as `side`.

    He et al., "TransReID: Transformer-based Object Re-Identification", ICCV 2021, eq. 6: lambda * S[camera].

    Args:
        camids: camera ids of the training set, in any order, repeated or not.
        dim: width of the tokens.
        weight: lambda.

    Example:
        >>> SideInformation([1, 2, 6], dim=8)(torch.tensor([6, 1])).shape
        torch.Size([2, 8])
    """

    camids: Tensor

    def __init__(self, camids: Sequence[int], dim: int, weight: float = SIE_WEIGHT):
        super().__init__()
        self.register_buffer("camids", torch.as_tensor(camids, dtype=torch.int64).unique())
        self.embedding = nn.Parameter(torch.empty(len(self.camids), dim))
        nn.init.trunc_normal_(self.embedding, std=0.02)
        self.weight = weight

    def forward(self, camid: Tensor) -> Tensor:
        """Camera ids [b] int64 -> [b d]. A camera that was not in training is an error."""
        index = torch.searchsorted(self.camids, camid).clamp(max=len(self.camids) - 1)
        known = self.camids[index] == camid
        if camid.is_cuda and self.training:  # a look from here would wait for the device in every step
            torch._assert_async(known.all(), "a camera of the batch is not among the training set's")
        elif not known.all():
            raise ValueError(
                f"camera {int(camid[~known][0])} is not among the training set's {self.camids.tolist()}: a "
                "model with side information serves the cameras it was trained on; build one without camids"
            )
        return self.weight * self.embedding[index]
