"""TransReID's jigsaw patch module (JPM): local features from shifted and shuffled patch tokens."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from reid_core.models.backbones import ViTEncoder
from reid_core.models.backbones.tokens import head_norm

GROUPS = 4
"""k of TransReID: local features (He et al. 2021, section 4.2)."""
SHIFT = 5
"""m of TransReID: patches that move from the front to the end (same place)."""
SHUFFLE = 2
"""Interleaved parts of the shuffle (its published configuration)."""


def jigsaw(patches: Tensor, groups: int = GROUPS, shift: int = SHIFT, shuffle: int = SHUFFLE) -> Tensor:
    """Regroup patch tokens so that each group holds patches from all over the image.

    He et al., "TransReID", ICCV 2021, section 3.2: the first m tokens move to the end, the sequence is cut in
    `shuffle` parts which are interleaved, and the result is cut in groups. Tokens beyond a multiple of
    groups * shuffle are left out.

    Args:
        patches: float [b n d], in raster order.
        groups: k.
        shift: m.
        shuffle: parts that are interleaved.

    Returns:
        [b k l d], l tokens per group.

    Raises:
        ValueError: there are fewer than groups * shuffle tokens.

    Example:
        >>> jigsaw(torch.arange(8.0).view(1, 8, 1), groups=2, shift=1).flatten(2)
        tensor([[[1., 5., 2., 6.],
                 [3., 7., 4., 0.]]])
    """
    number = patches.shape[1] - patches.shape[1] % (groups * shuffle)
    if not number:
        raise ValueError(
            f"{patches.shape[1]} patches are fewer than the {groups} groups of {shuffle} that a jigsaw "
            "needs: give larger images"
        )
    moved = patches.roll(-shift, dims=1)[:, :number]
    interleaved = moved.unflatten(1, (shuffle, -1)).transpose(1, 2).flatten(1, 2)
    return interleaved.unflatten(1, (groups, -1))


class JigsawPatches(nn.Module):
    """A copy of a transformer's last block, which each group of the jigsaw passes with the class token.

    Args:
        encoder: the transformer, with a class token; its last block and norm are copied as they are.
        groups: local features.
        shift: patches that move from the front to the end.
        shuffle: parts that are interleaved.

    Raises:
        ValueError: the transformer has no class token.
    """

    def __init__(self, encoder: ViTEncoder, groups: int = GROUPS, shift: int = SHIFT, shuffle: int = SHUFFLE):
        super().__init__()
        if not encoder.has_class_token:
            raise ValueError(
                "the jigsaw needs a class token to pass the last block with each group of patches, and this "
                "transformer has none: choose another backbone, or groups=0"
            )
        self.block = copy.deepcopy(encoder.vit.blocks[-1])
        last_norm = head_norm(encoder.vit) if isinstance(encoder.vit.norm, nn.Identity) else encoder.vit.norm
        self.norm = copy.deepcopy(last_norm)
        self.prefix: int = encoder.vit.num_prefix_tokens
        self.groups, self.shift, self.shuffle = groups, shift, shuffle

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [b p+n d] as `ViTEncoder.before_last` returns them -> local features [b groups d]."""
        groups = jigsaw(x[:, self.prefix :], self.groups, self.shift, self.shuffle)
        classes = x[:, None, :1].expand(-1, self.groups, -1, -1)
        local = self.norm(self.block(torch.cat([classes, groups], dim=2).flatten(0, 1)))
        return local[:, 0].unflatten(0, (-1, self.groups))
