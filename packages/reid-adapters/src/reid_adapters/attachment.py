"""What was done to a base, and how to undo it and do it again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from reid_adapters.backbones import Backbone
from reid_adapters.config import PBPConfig

ATTRIBUTE = "reid_adapters"
"""Of a base, holds its Attachments."""


@dataclass
class Swap:
    """An attribute of the base that has another value while an adapter is on.

    Attributes:
        holder: whose attribute it is.
        name: the attribute's.
        off, on: its values without and with the adapter.
    """

    holder: Any
    name: str
    off: Any
    on: Any


@dataclass
class Attachment:
    """An adapter of a base, kept in it so that it can come off and on again.

    Attributes:
        backbone: the base's kind.
        config, pbp: what was attached.
        digest: of the names and shapes of the base's parameters.
        stride: the patch stride asked for, if any.
        swaps: what it replaces, in order.
        flags: requires_grad of each parameter of the bare base, by name.
        kept: earlier values of the base's parameters that are trained or may drift, by name.
        added: names of the parameters that are the adapter's own, as they are called while it is on.
        tuned: likewise of the base's own parameters that are trained.
        trained: while it is off, values of the parameters of `kept`, and requires_grad by name while on.
    """

    backbone: Backbone
    config: Any
    pbp: PBPConfig | None
    digest: str
    stride: tuple[int, int] | None
    flags: dict[str, bool]
    swaps: list[Swap] = field(default_factory=list)
    kept: dict[str, Tensor] = field(default_factory=dict)
    added: frozenset[str] = frozenset()
    tuned: frozenset[str] = frozenset()
    trained: tuple[dict[str, Tensor], dict[str, bool]] = field(default_factory=lambda: ({}, {}))

    def take_off(self, model: nn.Module) -> None:
        """Leave the base bit for bit as it was; only what full fine-tuning trained stays trained."""
        flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
        for swap in reversed(self.swaps):
            swap.on = getattr(swap.holder, swap.name)
            setattr(swap.holder, swap.name, move_like(swap.off, swap.on))
        named = dict(model.named_parameters())
        self.trained = ({name: named[name].detach().clone() for name in self.kept}, flags)
        for name, value in self.kept.items():
            named[name].data.copy_(value)
        for name, parameter in named.items():
            parameter.requires_grad_(self.flags[name])
            if self.config is not None:
                parameter.grad = None

    def put_on(self, model: nn.Module) -> None:
        """Do again what `take_off` undid, where the base is now."""
        values, flags = self.trained
        named, like = dict(model.named_parameters()), next(model.parameters())
        for name, value in values.items():
            named[name].data.copy_(value)
        for swap in self.swaps:
            swap.off = getattr(swap.holder, swap.name)
            setattr(swap.holder, swap.name, move_like(swap.on, swap.off))
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(flags[name])
            if name in self.added:
                parameter.data = parameter.data.to(like.device, like.dtype)


@dataclass
class Attachments:
    """The adapters of a base.

    Attributes:
        active: the name of the one that is on.
        adapters: all of them by name.
    """

    active: str
    adapters: dict[str, Attachment]


def move_like(value: Any, now: Any) -> Any:
    """A value to put in the place of another, after the model may have moved to another device or dtype.

    Args:
        value: a parameter, moved in place, a tensor, or anything else, as it is.
        now: what is there now.

    Example:
        >>> import torch
        >>> move_like(nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(3).double())).dtype
        torch.float64
    """
    if isinstance(value, nn.Parameter):
        value.data = value.data.to(now.device, now.dtype)
    return (
        value.to(now.device) if isinstance(value, Tensor) and not isinstance(value, nn.Parameter) else value
    )


def attachments_of(model: nn.Module) -> Attachments | None:
    """The adapters of a base; None where there are none."""
    found = getattr(model, ATTRIBUTE, None)
    return found if isinstance(found, Attachments) else None
