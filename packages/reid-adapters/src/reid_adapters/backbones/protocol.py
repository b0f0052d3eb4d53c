"""What attaching needs to know of a kind of vision transformer, and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

Change = tuple[Any, str, Any]
"""An object of the model, the name of one of its attributes, and the attribute's new value."""


class Shape(NamedTuple):
    """Sizes of a vision transformer.

    Attributes:
        width: channels of its tokens.
        features: channels of what its head returns.
        image_size: (height, width) in pixels that it takes.
    """

    width: int
    features: int
    image_size: tuple[int, int]


class Rescaled(NamedTuple):
    """A weight of a block in which keys, values or the MLP's hidden channels have places of their own.

    Attributes:
        path: the module's name in the block, such as "attn.qkv".
        parameter: its parameter's name.
        dim: along which the channels lie.
        channels: "key", "value" or "hidden" -> where along it.
    """

    path: str
    parameter: str
    dim: int
    channels: Mapping[str, slice]


class Backbone(ABC):
    """A kind of vision transformer, told as functions of the model: it holds no state of a model.

    `attach(model, ..., backbone=MyBackbone())` makes adapters work on a model of your own. A distribution of
    one's own has it found by itself: an entry point of the group `reid_adapters.backbones` that leads to a
    function from a model to its Backbone, or to None for a model of another kind.

    Attributes:
        lora_targets: names of a block's linear layers for LoRA, under "attention" and "mlp".
        position_argument: the keyword by which the model passes positions to each of its blocks, for those
            whose attention needs them; None for position embeddings that are added once.
    """

    lora_targets: Mapping[str, tuple[str, ...]]
    position_argument: str | None = None

    @abstractmethod
    def shape(self, model: Any) -> Shape:
        """The model's sizes."""

    @abstractmethod
    def blocks(self, model: Any) -> nn.ModuleList | nn.Sequential:
        """The model's transformer blocks, in order; each may be replaced in it."""

    @abstractmethod
    def embed(self, model: Any, images: Tensor) -> tuple[Tensor, Sequence[Any] | None]:
        """Images [n 3 h w] -> the first block's tokens [n l width], and positions for each block or None."""

    @abstractmethod
    def head(self, model: Any, tokens: Tensor) -> Tensor:
        """The last block's tokens [n l width] -> features [n e]."""

    def pool(self, model: Any, tokens: Tensor) -> Tensor:
        """The last block's tokens [n l width] -> the feature before the projection [n width].

        Raises:
            ValueError: this kind doesn't say.
        """
        raise ValueError(f"{type(self).__name__} has no feature before a projection: use projected alone")

    def class_token(self, model: Any, tokens: Tensor) -> Tensor:
        """A block's tokens [n l width] -> its class token [n width].

        Raises:
            ValueError: this kind doesn't say.
        """
        raise ValueError(f"{type(self).__name__} doesn't say where its class token is: use projected alone")

    @abstractmethod
    def norm(self, block: Any, tokens: Tensor) -> Tensor:
        """LN(x) in front of the block's attention; the tokens themselves where it normalises behind it."""

    @abstractmethod
    def attention(self, block: Any, tokens: Tensor, prompts: Tensor | None, positions: Any) -> Tensor:
        """MSA([LN(x) : prompts]) without the residual and without the prompts' outputs (Eqs. 11, 17)."""

    @abstractmethod
    def mlp(self, block: Any, tokens: Tensor) -> Tensor:
        """MLP(LN(x)) without the residual (Eq. 12)."""

    @abstractmethod
    def resize(self, model: Any, image_size: tuple[int, int], stride: tuple[int, int] | None) -> list[Change]:
        """What to set for another image size or patch stride; changes nothing itself.

        Raises:
            ValueError: the size or the stride doesn't fit.
        """

    def check(self, model: Any, prompts: bool) -> None:  # noqa: B027 - most kinds refuse nothing
        """Refuse a model of this kind that can't be adapted.

        Args:
            model: of this kind.
            prompts: whether there will be prompts.

        Raises:
            ValueError: it can't, with the reason.
        """

    def scaling_targets(self, block: Any) -> list[Rescaled]:
        """Where a block's weights hold keys, values and hidden channels, for (IA)^3.

        Raises:
            ValueError: this kind doesn't say.
        """
        raise ValueError(f"{type(self).__name__} doesn't say where its blocks' keys and values are")

    def linear_calls(self, model: Any) -> list[Change]:
        """What to set so that the linear layers are called rather than their weights read; for LoRA."""
        return []


def with_prompts(tokens: Tensor, prompts: Tensor | None) -> Tensor:
    """Tokens with prompts behind them.

    Example:
        >>> with_prompts(torch.zeros(2, 129, 8), torch.zeros(2, 16, 8)).shape
        torch.Size([2, 145, 8])
    """
    return tokens if prompts is None else torch.cat([tokens, prompts.to(tokens.dtype)], dim=1)


def is_a(model: object, module: str, *names: str) -> bool:
    """Whether a model is of a class or of one derived from it, told by name: no library is imported.

    Args:
        model: any object.
        module: where the class is defined.
        names: of classes there; any of them will do.

    Example:
        >>> is_a(nn.Linear(2, 2), "torch.nn.modules.module", "Module")
        True
    """
    return any(kind.__module__ == module and kind.__name__ in names for kind in type(model).__mro__)


def qkv_rows(path: str, width: int, parameters: Sequence[str], dim: int = 0) -> list[Rescaled]:
    """Keys and values of a layer that makes queries, keys and values at once.

    Example:
        >>> qkv_rows("attn.qkv", 8, ["bias"])[0].channels["value"]
        slice(16, 24, None)
    """
    channels = {"key": slice(width, 2 * width), "value": slice(2 * width, 3 * width)}
    return [Rescaled(path, parameter, dim, channels) for parameter in parameters]


def layer_rows(block: Any, **paths: str) -> list[Rescaled]:
    """Keys and values of layers of their own, with their biases where they have them.

    Args:
        block: that holds them.
        paths: "key" and "value" -> the layer's name in the block.

    Example:
        >>> block = nn.ModuleDict({"k": nn.Linear(2, 2), "v": nn.Linear(2, 2, bias=False)})
        >>> [(found.path, found.parameter) for found in layer_rows(block, key="k", value="v")]
        [('k', 'weight'), ('k', 'bias'), ('v', 'weight')]
    """
    return [
        Rescaled(path, parameter, 0, {kind: slice(None)})
        for kind, path in paths.items()
        for parameter in parameters_of(block.get_submodule(path))
    ]


def hidden_columns(path: str) -> Rescaled:
    """Hidden channels of an MLP, as its second layer reads them.

    Example:
        >>> hidden_columns("mlp.fc2").dim
        1
    """
    return Rescaled(path, "weight", 1, {"hidden": slice(None)})


def parameters_of(layer: nn.Module, *names: str) -> list[str]:
    """Names of a layer's weight and bias, or of those given, without those that it lacks.

    Example:
        >>> parameters_of(nn.Linear(2, 2, bias=False))
        ['weight']
    """
    return [name for name in names or ("weight", "bias") if getattr(layer, name, None) is not None]
