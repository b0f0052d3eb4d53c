"""The command line `reid-models list`: what the backbones cost, beside the CION paper's names."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from jsonargparse import ArgumentParser

from reid_core import __version__

LINE = "{:<{width}}{:<20}{:>12}{:>8}{:>9}{:>6}  {:<9}{:<7}{}"
HEAD = ("name", "in the paper", "M parameters", "G MACs", "G FLOPs", "dim", "tokens", "class", "masks")


class Cost(NamedTuple):
    """A backbone's size.

    Attributes:
        parameters: of the network, without the mask token.
        flops: for one image: a multiplication and an addition each, so FLOPs = 2 MACs. Those of convolutions
            and matrix products; many papers print MACs under the name of FLOPs.
        dim: width of its tokens.
        grid: (h, w) of its patch tokens.
        class_token: whether it has a class token.
        masks: whether it can hide patches.
    """

    parameters: int
    flops: int
    dim: int
    grid: tuple[int, int]
    class_token: bool
    masks: bool


def cost(name: str, image_size: tuple[int, int] = (256, 128)) -> Cost:
    """Count a backbone's parameters and operations on shapes alone, so that the largest takes no memory.

    Args:
        name: as for `build_backbone`.
        image_size: (height, width) in pixels.

    Returns:
        The counts.

    Example:
        >>> cost("vit_nano_patch8", (64, 32))
        Cost(parameters=822400, flops=55707648, dim=128, grid=(8, 4), class_token=True, masks=True)
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from reid_core.models.backbones import build_backbone

    with torch.device("meta"):
        encoder = build_backbone(name, image_size).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            tokens = encoder(torch.empty(1, 3, *image_size))
    parameters = sum(parameter.numel() for parameter in encoder.trunk.parameters())
    return Cost(
        parameters,
        counter.get_total_flops(),
        encoder.dim,
        tokens.grid,
        encoder.has_class_token,
        encoder.takes_mask,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: those behind the program's name; sys.argv's by default.

    Returns:
        Exit status: 0, or 1 after an error.
    """
    options = build_parser().parse_args(None if arguments is None else list(arguments)).list
    try:
        return list_models([*options.backbones, *(options.names or [])], options.image_size)
    except BrokenPipeError:  # `| head` has seen enough; nothing is left for Python to flush at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, ImportError) as error:
        print(f"reid-models: {error}", file=sys.stderr)
        return 1


def build_parser() -> ArgumentParser:
    """The parser; it imports none of the libraries that build models.

    Example:
        >>> build_parser().parse_args(["list", "resnet18", "vit_tiny"]).list.backbones
        ['resnet18', 'vit_tiny']
    """
    parser = ArgumentParser(prog="reid-models", description="Backbones by name.", version=__version__)
    what = (list_models.__doc__ or "").partition("\n")[0]
    command = ArgumentParser(description=what)
    names = "names, timm's and open_clip's too; by default ReIDZoo's 32 and this package's own"
    command.add_argument("backbones", nargs="*", default=[], help=names)
    command.add_function_arguments(list_models, as_group=False, as_positional=False)
    parser.add_subcommands(required=True).add_subcommand("list", command, help=what)
    return parser


def list_models(names: list[str] | None = None, image_size: tuple[int, int] = (256, 128)) -> int:
    """List backbones with the CION paper's names, their parameters and their operations for one image.

    Args:
        names: more backbones as one list, such as "[vit_small, resnet50_ibn]".
        image_size: height and width in pixels.
    """
    from reid_core.models.backbones import VITS, ZOO

    names = names or [*ZOO, *VITS]
    width = max(18, *(len(name) + 2 for name in names))
    print(f"at {image_size[0]}x{image_size[1]}; FLOPs = 2 MACs, of convolutions and matrix products")
    print(LINE.format(*HEAD, width=width))
    for name in names:
        size = cost(name, image_size)
        row = (
            name,
            ZOO[name].paper if name in ZOO else "-",
            f"{size.parameters / 1e6:.2f}",
            f"{size.flops / 2e9:.2f}",
            f"{size.flops / 1e9:.2f}",
            size.dim,
            "{}x{}".format(*size.grid),
            "yes" if size.class_token else "-",
            "yes" if size.masks else "-",
        )
        print(LINE.format(*row, width=width), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
