"""TransReID: a vision transformer's global feature, its jigsaw's local ones, and side information."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from reid_core.models.backbones import ViTEncoder
from reid_core.models.parts.branches import Branch
from reid_core.models.parts.jigsaw import GROUPS, SHIFT, JigsawPatches
from reid_core.models.parts.side_information import SideInformation


class TransReIDExtractor(nn.Module):
    """Global and local features of an image, for `BranchedModel`.

    He et al., "TransReID: Transformer-based Object Re-Identification", ICCV 2021, eq. 7 and figure 3: the
    losses of the global feature and the mean of the local ones count half each, and local features enter the
    descriptor divided by their number (published code).

    Args:
        encoder: a vision transformer, best with overlapping patches (`stride=12`); with a class token, unless
            groups is 0.
        camids: camera ids of the training set, for side information; None leaves it out.
        groups: local features of the jigsaw; 0 leaves it out.
        shift: patches that it moves from the front to the end (the released code: 4).

    Raises:
        ValueError: the encoder is another structure, or has no class token for the jigsaw.

    Example:
        >>> import torch
        >>> from reid_core.models.backbones import build_backbone
        >>> encoder = build_backbone("vit_nano_patch8", (64, 32), depth=2)
        >>> extractor = TransReIDExtractor(encoder, camids=[0, 1])
        >>> [f.shape[1] for f in extractor(torch.zeros(2, 3, 64, 32), torch.tensor([0, 1]))]
        [128, 128, 128, 128, 128]
    """

    def __init__(
        self,
        encoder: ViTEncoder,
        camids: Sequence[int] | None = None,
        groups: int = GROUPS,
        shift: int = SHIFT,
    ):
        super().__init__()
        if not isinstance(encoder, ViTEncoder):
            raise ValueError(
                f"TransReID takes a ViTEncoder, timm's VisionTransformer, not {type(encoder).__name__}: "
                "choose a vit_* or deit* backbone"
            )
        self.encoder = encoder
        self.side = None if camids is None else SideInformation(camids, encoder.dim)
        self.jigsaw = JigsawPatches(encoder, groups, shift) if groups else None
        share = 0.5 if groups else 1.0
        each = 1 / max(groups, 1)
        local = Branch(encoder.dim, share * each, share * each, each)
        self.branches: tuple[Branch, ...] = (Branch(encoder.dim, share, share), *groups * [local])

    @property
    def camids(self) -> Tensor | None:
        """Cameras [c] of the side information, or None."""
        return None if self.side is None else self.side.camids

    def forward(self, images: Tensor, camid: Tensor | None = None) -> tuple[Tensor, ...]:
        """Images [b 3 h w] and, with side information, camera ids [b] -> features [b d], global first."""
        if (camid is None) != (self.side is None):
            raise ValueError(
                "camera ids go with side information: " + ("give none" if self.side is None else "give camid")
            )
        side = self.side(camid) if self.side is not None else None
        x, grid = self.encoder.before_last(images, side=side)
        features = (self.encoder.last(x, grid).cls,)
        return features if self.jigsaw is None else (*features, *self.jigsaw(x).unbind(1))
