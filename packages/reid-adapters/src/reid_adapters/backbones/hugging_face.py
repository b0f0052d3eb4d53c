"""What transformers' vision models have in common; the library itself is not imported."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from reid_adapters.backbones.protocol import Backbone, Change, with_prompts
from reid_adapters.positions import grid_of, pair_of, resize_positions


class HuggingFace(Backbone):
    """Pre-norm layers of transformers' vision models.

    After `attach(..., image_size=)` frames go through the encoder: the models' own forward passes take the
    image size that they were made for.

    Attributes:
        attention_name, norm1, norm2: what a layer calls its attention and the norms before attention and MLP.
    """

    attention_name: str
    norm1: str
    norm2: str

    def norm(self, block: Any, tokens: Tensor) -> Tensor:
        return getattr(block, self.norm1)(tokens)

    def attention(self, block: Any, tokens: Tensor, prompts: Tensor | None, positions: Any) -> Tensor:
        inputs = with_prompts(self.norm(block, tokens), prompts)
        return getattr(block, self.attention_name)(inputs)[0][:, : tokens.shape[1]]

    def mlp(self, block: Any, tokens: Tensor) -> Tensor:
        return block.mlp(getattr(block, self.norm2)(tokens))


def flatten_patches(patches: Tensor) -> Tensor:
    """A grid of patches as tokens.

    Example:
        >>> import torch
        >>> flatten_patches(torch.zeros(2, 8, 4, 3)).shape
        torch.Size([2, 12, 8])
    """
    return patches.flatten(2).transpose(1, 2)


def resize_patches(
    convolution: nn.Conv2d,
    positions: Tensor,
    old: tuple[int, int],
    image_size: tuple[int, int],
    stride: tuple[int, int] | None,
    prefix: int,
) -> tuple[list[Change], Tensor]:
    """What to set in a patch embedding for another image size or stride, and the positions resampled.

    Args:
        convolution: the patch embedding.
        positions: [prefix + rows * columns, width].
        old: (height, width) in pixels that they are of.
        image_size: (height, width) wanted.
        stride: from patch to patch; None for the patch embedding's own.
        prefix: positions of class tokens in front.

    Returns:
        Changes, and [prefix + rows * columns, width].

    Example:
        >>> import torch
        >>> convolution = nn.Conv2d(3, 8, 16, 16)
        >>> resize_patches(convolution, torch.zeros(5, 8), (32, 32), (64, 32), None, 1)[1].shape
        torch.Size([9, 8])
    """
    kernel, step = pair_of(convolution.kernel_size), pair_of(convolution.stride)
    grid = grid_of(image_size, kernel, stride or step)
    resampled = resize_positions(positions.detach(), grid_of(old, kernel, step), grid, prefix)
    return [(convolution, "stride", stride or step)], resampled
