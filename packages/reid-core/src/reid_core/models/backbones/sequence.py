"""timm's transformers whose tokens stay one sequence: EVA, BEiT, DINOv3, XCiT, NaFlexViT, Hiera, mixers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from reid_core.models.backbones.geometry import Sizes
from reid_core.models.backbones.tokens import Tokens, has_class_token, no_mask, split_sequence


class SequenceEncoder(nn.Module):
    """A timm model whose `forward_features` returns a sequence [b p+n d].

    Images are padded with zeros at their right and bottom to whole patches. Patches are hidden as in
    `ViTEncoder`: a learnable token replaces them after the patch embedding, before positions join them.

    Args:
        trunk: built with `num_classes=0`.
        sizes: the images that it takes.
        embedding: name of the trunk's module that returns the patch embeddings, one per patch token; None
            where there is none, such as in Hiera, whose stages merge patches.
    """

    trunk: Any  # timm's transformers share no class that has what is used here

    def __init__(self, trunk: Any, sizes: Sizes, embedding: str | None = None):
        super().__init__()
        self.trunk = trunk
        self.sizes = sizes
        self.dim: int = trunk.num_features
        self.patch_size: tuple[int, int] = (sizes.stride, sizes.stride)
        self.has_class_token = has_class_token(trunk)
        self.takes_mask = embedding is not None
        self.embedding = embedding
        self.mask_token = nn.Parameter(torch.zeros(self.dim)) if embedding is not None else None

    def grid(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the patch tokens of an image of that size in pixels."""
        return self.sizes.grid(image_size)

    def forward(self, images: Tensor, mask: Tensor | None = None) -> Tokens:
        """
        Args:
            images: float [b 3 h w], normalised.
            mask: bool [b n], True where a patch is hidden, or None.
        """
        grid = self.grid((images.shape[-2], images.shape[-1]))
        images = self.sizes.pad(images)
        if mask is None:
            return split_sequence(self.trunk, self.trunk.forward_features(images), grid)
        if self.embedding is None:
            no_mask(mask, f"a {type(self.trunk).__name__}")
        embedding = self.trunk.get_submodule(self.embedding)
        handle = embedding.register_forward_hook(lambda _module, _args, output: self._hide(output, mask))
        try:
            return split_sequence(self.trunk, self.trunk.forward_features(images), grid)
        finally:
            handle.remove()

    def _hide(self, output: Any, mask: Tensor) -> Any:
        """The patch embeddings [b n d] or [b h w d], alone or before their grid, with the mask's replaced."""
        if isinstance(output, tuple):
            return (self._hide(output[0], mask), *output[1:])
        token: Any = self.mask_token
        return torch.where(mask.view(*output.shape[:-1], 1), token.to(output.dtype), output)
