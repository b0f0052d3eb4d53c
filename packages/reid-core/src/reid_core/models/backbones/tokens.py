"""What every backbone returns."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Tokens(NamedTuple):
    """What a backbone returns.

    Attributes:
        cls: float [b d], the class token (without one: the pooled map).
        patches: float [b n d], the patch tokens in raster order, n = h * w.
        grid: (h, w) of the patch tokens.
    """

    cls: Tensor
    patches: Tensor
    grid: tuple[int, int]


def no_mask(mask: Tensor | None, kind: str) -> None:
    """Refuse a mask where there is no patch to hide."""
    if mask is not None:
        raise ValueError(f"{kind} backbone can't hide patches: pass mask=None, or choose a vit_* backbone")
