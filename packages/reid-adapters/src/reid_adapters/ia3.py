"""(IA)^3: keys, values and hidden channels rescaled (Liu et al., NeurIPS 2022), for comparison.

peft's (IA)^3 rescales all that a linear layer gives. Most vision transformers make queries, keys and values
in one layer, and torch's MultiheadAttention never calls its own: there it would rescale queries too, or
nothing. Rescaling rows of the weights is the same product, and reaches both.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from reid_adapters.backbones import Backbone, Change, Rescaled
from reid_adapters.config import IA3Config
from reid_adapters.method import Method


class Rescale(nn.Module):
    """A weight with some of its channels multiplied: l_k (W_k x) = (l_k W_k) x (Liu et al., 3.3).

    Args:
        scales: "key", "value" or "hidden" -> the factors, shared by weight and bias.
        place: where in the weight.

    Example:
        >>> scales = {"key": nn.Parameter(torch.full((2,), 3.0))}
        >>> place = Rescaled("attn.qkv", "bias", 0, {"key": slice(2, 4)})
        >>> Rescale(scales, place)(torch.ones(6))
        tensor([1., 1., 3., 3., 1., 1.], grad_fn=<MulBackward0>)
    """

    def __init__(self, scales: Mapping[str, nn.Parameter], place: Rescaled) -> None:
        super().__init__()
        self.dim, self.channels = place.dim, dict(place.channels)
        for kind in place.channels:
            self.register_parameter(f"ia3_{kind}", scales[kind])

    def forward(self, weight: Tensor) -> Tensor:
        """The weight, rescaled."""
        parts, size = [], weight.shape[self.dim]
        end = 0
        for kind, channels in self.channels.items():
            scale = getattr(self, f"ia3_{kind}")
            start, stop, _ = channels.indices(size)
            parts += [scale.new_ones(start - end), scale]
            end = stop
        factors = torch.cat([*parts, scale.new_ones(size - end)])
        return weight * (factors[:, None] if self.dim == 0 and weight.ndim > 1 else factors)


def rescale_blocks(model: nn.Module, backbone: Backbone, config: IA3Config) -> list[Change]:
    """Modules of blocks to put in the place of those whose weights are rescaled; they share the weights.

    Args:
        model: a transformer; stays as it is.
        backbone: which knows where a block's keys, values and hidden channels are.
        config: has no settings.

    Raises:
        ValueError: the backbone doesn't say.
    """
    changes: list[Change] = []
    for block in backbone.blocks(model).children():
        places = backbone.scaling_targets(block)
        scales = make_scales(block, places)
        twins: dict[str, nn.Module] = {}
        for place in places:
            module = twin(block, place.path, twins)
            parametrize.register_parametrization(module, place.parameter, Rescale(scales, place))
        changes += [(block, path, module) for path, module in twins.items() if "." not in path]
    return changes


def make_scales(block: nn.Module, places: list[Rescaled]) -> dict[str, nn.Parameter]:
    """Factors of ones for each kind of channel, with the device and dtype of the weights."""
    scales: dict[str, nn.Parameter] = {}
    for place in places:
        weight = cast(Tensor, getattr(block.get_submodule(place.path), place.parameter))
        for kind, channels in place.channels.items():
            count = len(range(*channels.indices(weight.shape[place.dim])))
            scales.setdefault(kind, nn.Parameter(torch.ones(count, device=weight.device, dtype=weight.dtype)))
    return scales


def twin(block: nn.Module, path: str, twins: dict[str, nn.Module]) -> nn.Module:
    """A copy of a module of a block that shares its weights, and copies of those around it.

    Args:
        block: that holds it; stays as it is.
        path: its name in the block.
        twins: those made so far by name; gets what is made.
    """
    if path not in twins:
        original = block.get_submodule(path)
        new = copy.copy(original)
        for table in ("_parameters", "_buffers", "_modules"):
            new.__dict__[table] = copy.copy(original.__dict__[table])
        twins[path] = new
        parent, _, name = path.rpartition(".")
        if parent:
            twin(block, parent, twins).register_module(name, new)
    return twins[path]


def merge(blocks: nn.Module) -> None:
    """Put rescaled weights in the place of the weights and their factors."""
    for module in list(blocks.modules()):
        if parametrize.is_parametrized(module):
            held: Any = module.parametrizations
            for name in list(held):
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)


METHOD = Method(IA3Config, changes=rescale_blocks, merge=merge, prefix="ia3_")
