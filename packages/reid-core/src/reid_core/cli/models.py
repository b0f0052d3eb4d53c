"""The command line `reid-models list`: what the backbones cost, beside the CION paper's names."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jsonargparse import auto_cli
from torch.utils.flop_counter import FlopCounterMode

from reid_core.models.backbones import VITS, ZOO, build_backbone


class Cost(NamedTuple):
    """A backbone's size.

    Attributes:
        parameters: of the network, without the mask token.
        flops: for one image: a multiplication and an addition each, so FLOPs = 2 MACs. Those of convolutions
            and matrix products; many papers print MACs under the name of FLOPs.
        dim: width of its tokens.
        grid: (h, w) of its patch tokens.
    """

    parameters: int
    flops: int
    dim: int
    grid: tuple[int, int]


def cost(name: str, image_size: tuple[int, int] = (256, 128)) -> Cost:
    """Count a backbone's parameters and operations on shapes alone, so that the largest takes no memory.

    Args:
        name: as for `build_backbone`.
        image_size: (height, width) in pixels.

    Returns:
        The counts.

    Example:
        >>> cost("vit_nano_patch8", (64, 32))
        Cost(parameters=822400, flops=55707648, dim=128, grid=(8, 4))
    """
    with torch.device("meta"):
        encoder = build_backbone(name, image_size).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            tokens = encoder(torch.empty(1, 3, *image_size))
    parameters = sum(parameter.numel() for parameter in encoder.trunk.parameters())
    return Cost(parameters, counter.get_total_flops(), encoder.dim, tokens.grid)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: those behind the program's name; sys.argv's by default.

    Returns:
        Exit status: 0, or 1 after an error.
    """
    commands: Any = {"list": list_models}
    try:
        return auto_cli(commands, args=None if arguments is None else list(arguments), prog="reid-models")
    except (ValueError, ImportError) as error:
        print(f"reid-models: {error}", file=sys.stderr)
        return 1


def list_models(names: list[str] | None = None, image_size: tuple[int, int] = (256, 128)) -> int:
    """List backbones with the CION paper's names, their parameters and their operations for one image.

    Args:
        names: backbones to list, timm's and open_clip's too; by default ReIDZoo's 32 and this package's own.
        image_size: height and width in pixels.
    """
    print(f"at {image_size[0]}x{image_size[1]}; FLOPs = 2 MACs, of convolutions and matrix products")
    print(
        f"{'name':<18}{'in the paper':<20}{'M parameters':>12}{'G MACs':>8}{'G FLOPs':>9}{'dim':>6}  tokens"
    )
    for name in names or [*ZOO, *VITS]:
        parameters, flops, dim, (height, width) = cost(name, image_size)
        paper = ZOO[name].paper if name in ZOO else "-"
        print(
            f"{name:<18}{paper:<20}{parameters / 1e6:>12.2f}{flops / 2e9:>8.2f}{flops / 1e9:>9.2f}{dim:>6}"
            f"  {height}x{width}",
            flush=True,
        )
    return 0
