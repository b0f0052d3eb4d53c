"""open_clip's TimmModel: a timm transformer as CLIP's image tower, as in SigLIP and EVA-CLIP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from reid_adapters.backbones import timm_beit, timm_eva, timm_vit
from reid_adapters.backbones.protocol import Backbone, Change, Rescaled, Shape, is_a
from reid_adapters.backbones.timm_vit import Timm

TRUNKS: tuple[Callable[[nn.Module], Backbone | None], ...] = (timm_vit.find, timm_eva.find, timm_beit.find)
"""Kinds of timm's transformers that can be a tower's trunk."""


def find(model: Any) -> Backbone | None:
    """The backbone of an open_clip TimmModel whose trunk is a transformer known here; None for others."""
    if not is_a(model, "open_clip.timm_model", "TimmModel"):
        return None
    trunks = (find_trunk(model.trunk) for find_trunk in TRUNKS)
    return next((OpenClipTimm(trunk) for trunk in trunks if isinstance(trunk, Timm)), None)


class OpenClipTimm(Backbone):
    """`open_clip.timm_model.TimmModel`.

    Args:
        trunk: the backbone of its trunk.
    """

    def __init__(self, trunk: Timm) -> None:
        self.trunk = trunk
        self.lora_targets = trunk.lora_targets
        self.position_argument = trunk.position_argument

    def check(self, model: Any, prompts: bool) -> None:
        """Refuse what the trunk's kind refuses; a classifier of the trunk is CLIP's projection."""
        self.trunk.check_blocks(model.trunk, prompts)

    def shape(self, model: Any) -> Shape:
        shape = self.trunk.shape(model.trunk)
        outputs = [layer.out_features for layer in model.head.modules() if isinstance(layer, nn.Linear)]
        return shape._replace(features=[shape.features, *outputs][-1])

    def blocks(self, model: Any) -> nn.Sequential | nn.ModuleList:
        return self.trunk.blocks(model.trunk)

    def embed(self, model: Any, images: Tensor) -> tuple[Tensor, Sequence[Tensor] | None]:
        return self.trunk.embed(model.trunk, images)

    def head(self, model: Any, tokens: Tensor) -> Tensor:
        return model.head(self.trunk.head(model.trunk, tokens))

    def norm(self, block: Any, tokens: Tensor) -> Tensor:
        return self.trunk.norm(block, tokens)

    def attention(self, block: Any, tokens: Tensor, prompts: Tensor | None, positions: Any) -> Tensor:
        return self.trunk.attention(block, tokens, prompts, positions)

    def mlp(self, block: Any, tokens: Tensor) -> Tensor:
        return self.trunk.mlp(block, tokens)

    def scaling_targets(self, block: Any) -> list[Rescaled]:
        return self.trunk.scaling_targets(block)

    def linear_calls(self, model: Any) -> list[Change]:
        return self.trunk.linear_calls(model.trunk)

    def resize(self, model: Any, image_size: tuple[int, int], stride: tuple[int, int] | None) -> list[Change]:
        changes = self.trunk.resize(model.trunk, image_size, stride)
        return [*changes, (model, "image_size", image_size)]
