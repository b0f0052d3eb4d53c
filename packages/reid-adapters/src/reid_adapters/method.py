"""What a way of adapting a transformer is: its settings, the layers that it adds, what it changes inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from reid_adapters.backbones import Backbone, Change

Place = Literal["attention", "mlp", "prompts"]
"""Where a layer acts in a block."""


class Layer(nn.Module):
    """What a method adds to a block.

    Attributes:
        place: "attention" for a layer beside the block's attention, called with its input [(b t) l width] and
            t; "mlp" for one beside its MLP, called with its input; both return what to add. "prompts" for one
            that is called with the number of images and their platforms and returns tokens [n or 1, l, width]
            that the block's attention sees and forgets.
        behind_norm: whether prompts join the tokens behind the norm before the attention.
    """

    place: Place
    behind_norm: bool = True


class Site(NamedTuple):
    """A block of a base, for which a method builds its layers.

    Attributes:
        number: the block's, from 0.
        width: channels of the tokens.
        device, dtype: of the block's weights.
    """

    number: int
    width: int
    device: torch.device
    dtype: torch.dtype


def no_layers(config: Any, site: Site) -> dict[str, Layer]:
    """Of a method that adds none.

    Example:
        >>> no_layers(None, Site(0, 8, torch.device("cpu"), torch.float32))
        {}
    """
    return {}


def no_changes(model: nn.Module, backbone: Backbone, config: Any) -> list[Change]:
    """Of a method that changes nothing inside of blocks.

    Example:
        >>> from reid_adapters.backbones.timm_vit import TimmViT
        >>> no_changes(nn.ModuleList(), TimmViT(), None)
        []
    """
    return []


def no_parameter(config: Any, module: nn.Module, name: str) -> bool:
    """Of a method that leaves the base's own parameters alone.

    Example:
        >>> no_parameter(None, nn.Linear(2, 2), "bias")
        False
    """
    return False


class Method(NamedTuple):
    """A way of adapting a transformer.

    A distribution of one's own adds one by an entry point of the group `reid_adapters.methods` that leads to
    a Method, under the name that its configuration class has as `method`.

    Attributes:
        config: its configuration: a frozen dataclass with a class variable `method`, the method's name.
        layers: from the configuration and a site to the block's layers by name.
        changes: from the base, its backbone and the configuration to what to set inside of the blocks.
        tunes: from the configuration, a module of the base and the name of a parameter of it to whether it is
            trained.
        drifts: likewise, whether it may come out of a forward pass with other rounding.
        merge: from the base's blocks; folds what was learnt into the weights and leaves no layer of its own.
        prompts: whether it adds tokens.
        prefix: with which a part of the name begins of each parameter that `changes` brings along.
    """

    config: type
    layers: Callable[[Any, Site], Mapping[str, Layer]] = no_layers
    changes: Callable[[nn.Module, Backbone, Any], list[Change]] = no_changes
    tunes: Callable[[Any, nn.Module, str], bool] = no_parameter
    drifts: Callable[[Any, nn.Module, str], bool] = no_parameter
    merge: Callable[[nn.Module], None] | None = None
    prompts: bool = False
    prefix: str | None = None
