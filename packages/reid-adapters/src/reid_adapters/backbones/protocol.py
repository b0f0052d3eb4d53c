"""What attaching needs to know of a vision transformer, and nothing else."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

Change = tuple[nn.Module, str, Any]
"""A module, the name of one of its attributes, and the attribute's new value."""


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


class Backbone(Protocol):
    """A kind of vision transformer, told as functions of the model: it holds no state.

    `attach(model, ..., backbone=MyBackbone())` makes adapters work on a model of your own. Two are found
    without being given: `OpenClipViT` and `TimmViT`.

    Attributes:
        lora_targets: names of a block's linear layers for LoRA, under "attention" and "mlp".
    """

    lora_targets: dict[str, tuple[str, ...]]

    def shape(self, model: Any) -> Shape:
        """The model's sizes."""

    def blocks(self, model: Any) -> nn.ModuleList | nn.Sequential:
        """The model's transformer blocks, in order; each may be replaced in it."""

    def embed(self, model: Any, images: Tensor) -> Tensor:
        """Images [n 3 h w] -> the first block's tokens [n l width]."""

    def head(self, model: Any, tokens: Tensor) -> Tensor:
        """The last block's tokens [n l width] -> features [n e]."""

    def attention(self, block: Any, tokens: Tensor, prompts: Tensor | None) -> Tensor:
        """MSA([LN(x) : prompts]) without the residual and without the prompts' outputs (Eqs. 11, 17)."""

    def mlp(self, block: Any, tokens: Tensor) -> Tensor:
        """MLP(LN(x)) without the residual (Eq. 12)."""

    def resize(self, model: Any, image_size: tuple[int, int], stride: tuple[int, int] | None) -> list[Change]:
        """What to set for another image size or patch stride; changes nothing itself."""


def with_prompts(tokens: Tensor, prompts: Tensor | None) -> Tensor:
    """Tokens with prompts behind them.

    Example:
        >>> with_prompts(torch.zeros(2, 129, 8), torch.zeros(2, 16, 8)).shape
        torch.Size([2, 145, 8])
    """
    return tokens if prompts is None else torch.cat([tokens, prompts.to(tokens.dtype)], dim=1)
