"""Position embeddings of a checkpoint brought to a backbone's image size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed_nhwc, resize_rel_pos_bias_table
from torch import Tensor

Interpolation = Literal["timm", "dino"]
"""Of position embeddings: bicubic with antialiasing (timm), or bicubic without it by DINO's scale factors."""
DINO_OFFSET = 0.1
"""Added to the grid in DINO's scale factors (Caron et al., 2021, `interpolate_pos_encoding`)."""
TOKENS = ("cls_token", "dist_token", "reg_token")
"""timm's tokens before the patches, in their order."""
ROUGHER = 2.0
"""How much rougher positions must be in one grid than in another to be taken for the other's."""
Grid = tuple[int, int]


class Positions(NamedTuple):
    """A tensor of a checkpoint at a backbone's image size."""

    value: Tensor
    resized: bool = False
    grid: Grid | None = None  # rows and columns of the checkpoint's patches; None where it isn't asked for


def fit_positions(
    name: str,
    value: Tensor,
    want: Tensor,
    trunk: Any,
    state: Mapping[str, Tensor],
    grid: Grid | None = None,
    interpolation: Interpolation = "timm",
) -> Positions:
    """Interpolate a tensor of a checkpoint to the backbone's image size, where it depends on that.

    Args:
        name: the tensor's, in the backbone.
        value: the checkpoint's.
        want: the backbone's.
        trunk: the backbone's library module.
        state: the checkpoint, in the backbone's names: the tokens before the patches are counted in it.
        grid: rows and columns of the checkpoint's patches; None to take the backbone's where the number is
            the same, a square where it is one, else what is nearest in shape to the backbone's.
        interpolation: of absolute positions.

    Returns:
        The tensor, itself where it has nothing to do with the image size.

    Raises:
        ValueError: the positions are of other tokens than the backbone's, or of another grid.
    """
    if value.ndim != want.ndim or value.shape[-1] != want.shape[-1]:
        return Positions(value)
    if name == "pos_embed" and want.ndim == 4:  # VOLO
        old = (value.shape[1], value.shape[2])
        new = (want.shape[1], want.shape[2])
        return Positions(
            value if old == new else resample_abs_pos_embed_nhwc(value, list(new)), old != new, old
        )
    if name == "pos_embed" and want.ndim == 3:
        hiera = getattr(trunk, "tokens_spatial_shape", None)
        new = tuple(trunk.patch_embed.grid_size if hiera is None else hiera)
        prefix = _count_prefix(value, new, trunk, state, grid)
        return _interpolate(value, new, prefix, grid, interpolation)
    if name == "positional_embedding":  # CLIP
        found = _interpolate(value[None], trunk.grid_size, 1, grid, interpolation)
        return found._replace(value=found.value[0])
    if name.endswith("relative_position_bias_table") and value.shape != want.shape:
        window = trunk.get_submodule(name.rpartition(".")[0]).window_size
        return Positions(resize_rel_pos_bias_table(value, window, want.shape), True)
    return Positions(value)


def _count_prefix(
    value: Tensor, new: Grid, trunk: Any, state: Mapping[str, Tensor], grid: Grid | None
) -> int:
    """Positions of `value` that belong to tokens before the patches, as the checkpoint's own tokens say."""
    ours = getattr(trunk, "num_prefix_tokens", 0)
    if not ours:
        return 0
    tokens = {name: state[name].shape[1] for name in TOKENS if name in state and state[name].ndim == 3}
    if (theirs := sum(tokens.values())) != ours:
        listed = ", ".join(f"{name} {count}" for name, count in tokens.items()) or "none"
        raise ValueError(
            f"the checkpoint has {theirs} tokens before its patches ({listed}) and this backbone has {ours}: "
            "build it with the checkpoint's (class_token, reg_tokens, or a distilled model's name)"
        )
    prefix, other = (0, ours) if getattr(trunk, "no_embed_class", False) else (ours, 0)
    patches, instead = value.shape[1] - prefix, value.shape[1] - other
    if not _is_likely(patches, new, grid) and _is_likely(instead, new, grid):
        here, there = ("counted", "left out") if prefix else ("left out", "counted")
        raise ValueError(
            f"tokens before the patches seem to be {there} in the checkpoint's {value.shape[1]} positions "
            f"and are {here} in this backbone's: build it with no_embed_class={bool(prefix)}, or give "
            f"the grid of the checkpoint's {patches} patches"
        )
    return prefix


def _is_likely(patches: int, new: Grid, grid: Grid | None) -> bool:
    """Whether so many patches were to be expected: of the grid given, the backbone's, or a square."""
    if grid is not None:
        return patches == math.prod(grid)
    return patches == math.prod(new) or math.isqrt(max(0, patches)) ** 2 == patches


def _interpolate(
    value: Tensor, new: Grid, prefix: int, grid: Grid | None, interpolation: Interpolation
) -> Positions:
    """[1 p+n d] -> [1 p+h*w d]."""
    patches = value[:, prefix:]
    old = _old_grid(patches, new) if grid is None else grid
    if math.prod(old) != patches.shape[1]:
        raise ValueError(
            f"grid={old[0]}x{old[1]}, but the checkpoint has positions for {patches.shape[1]} patches: give "
            "its own grid"
        )
    if old == new:
        return Positions(value, False, old)
    image = patches.float().unflatten(1, old).permute(0, 3, 1, 2)
    if interpolation == "dino":
        scale = [(side + DINO_OFFSET) / before for side, before in zip(new, old, strict=True)]
        image = F.interpolate(image, scale_factor=scale, mode="bicubic")
    else:
        image = F.interpolate(image, size=new, mode="bicubic", antialias=True)
    resized = image.flatten(2).transpose(1, 2).to(value.dtype)
    return Positions(torch.cat([value[:, :prefix], resized], dim=1), True, old)


def _old_grid(positions: Tensor, new: Grid) -> Grid:
    """(h, w) that the positions [1 n d] were made for.

    ImageNet's images are square, persons' twice or three times as high as wide; neither 2 n^2 nor 3 n^2 is a
    square, so one does not pass for the other.
    """
    patches = positions.shape[1]
    side = math.isqrt(max(0, patches))
    square = [(side, side)] if side and side * side == patches else []
    if patches == math.prod(new):
        for other in ((new[1], new[0]), *square):
            if other != new and _roughness(positions, new) > ROUGHER * _roughness(positions, other):
                raise ValueError(
                    f"the checkpoint's positions look like those of {other[0]}x{other[1]} patches, not this "
                    f"backbone's {new[0]}x{new[1]}: give grid=({other[0]}, {other[1]}) to have them "
                    f"interpolated, or grid=({new[0]}, {new[1]}) to take them as they are"
                )
        return new
    if square:
        return square[0]
    shape = new[0] / new[1]
    pairs = [(h, patches // h) for h in range(1, patches + 1) if patches % h == 0]
    height, width = min(pairs, key=lambda pair: abs(math.log(pair[0] / pair[1] / shape)), default=(0, 1))
    if not 0.5 <= height / width / shape <= 2:
        raise ValueError(
            f"the checkpoint has positions for {patches} patches, which make no grid like this backbone's "
            f"{new[0]}x{new[1]}: build the backbone for images of the checkpoint's shape, or give its grid"
        )
    return height, width


def _roughness(positions: Tensor, grid: Grid) -> float:
    """Mean squared difference of vertical neighbours; learnt positions of neighbours are alike."""
    rows = positions.float().unflatten(1, grid)
    return float((rows[:, 1:] - rows[:, :-1]).square().mean()) if grid[0] > 1 else math.inf
