"""iBOT's block masks: which patches the student does not see."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def uniform(low: float, high: float) -> float:
    """A number from torch's generator, so that one seed rules all."""
    return low + (high - low) * torch.rand(()).item()


def block_mask(
    grid: tuple[int, int],
    ratio: float = 0.3,
    spread: float = 0.2,
    probability: float = 0.5,
    min_patches: int = 4,
    min_aspect: float = 0.3,
) -> Tensor:
    """A mask of rectangular blocks, from torch's global generator.

    iBOT (Zhou et al., ICLR 2022) hides a share drawn from ratio +- spread of an image's patches with
    probability 0.5, and nothing otherwise; blocks are drawn as in BEiT (Bao et al., ICLR 2022) until the
    share is reached.

    Args:
        grid: (h, w) of the patches.
        ratio: mean share of hidden patches.
        spread: half the range of the share.
        probability: chance that anything is hidden.
        min_patches: smallest block (iBOT: 4).
        min_aspect: smallest height-to-width ratio of a block (iBOT: 0.3), the largest its inverse.

    Returns:
        Bool [h*w], True where a patch is hidden.

    Example:
        >>> mask = block_mask((16, 8), probability=1.0)
        >>> mask.shape, 0.05 <= mask.float().mean().item() <= 0.5
        (torch.Size([128]), True)
    """
    height, width = grid
    mask = torch.zeros(grid, dtype=torch.bool)
    if torch.rand(()).item() >= probability:
        return mask.flatten()
    target = round(height * width * uniform(max(ratio - spread, 0.0), min(ratio + spread, 1.0)))
    for _ in range(10 * height * width):
        left = target - int(mask.sum())
        if left <= 0:
            break
        area = uniform(min(min_patches, left), left)
        aspect = math.exp(uniform(math.log(min_aspect), -math.log(min_aspect)))
        h = min(max(round(math.sqrt(area * aspect)), 1), height)
        w = min(max(round(math.sqrt(area / aspect)), 1), width)
        top = int(torch.randint(height - h + 1, ()))
        start = int(torch.randint(width - w + 1, ()))
        block = mask[top : top + h, start : start + w]
        if 0 < block.numel() - int(block.sum()) <= left:
            block.fill_(True)
    return mask.flatten()
