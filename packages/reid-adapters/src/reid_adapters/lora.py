"""LoRA on the same encoders, through the peft library (extra `lora`), for comparison with VSLA."""

from __future__ import annotations

from typing import Any

from torch import nn

from reid_adapters.backbones import Backbone, Change
from reid_adapters.backbones.attention import merge_updates
from reid_adapters.config import LoRAConfig
from reid_adapters.method import Method


def inject_lora(model: nn.Module, backbone: Backbone, config: LoRAConfig) -> list[Change]:
    """Low-rank updates beside linear layers (Hu et al., ICLR 2022).

    Args:
        model: a transformer; comes out as it was.
        backbone: which knows the names of a block's layers.
        config: rank, scale and which of the layers.

    Returns:
        peft's layers to put in the place of those of the blocks.

    Raises:
        ImportError: peft is not there.
        ValueError: a layer that peft doesn't take, or dropout on torch's MultiheadAttention, where peft would
            leave it out.
    """
    try:
        import peft
    except ImportError as error:
        raise ImportError("LoRAConfig needs peft: pip install peft") from error
    blocks: nn.Module = backbone.blocks(model)
    names = [name for target in config.targets for name in backbone.lora_targets[target]]
    targeted = [module for name, module in blocks.named_modules() if name.endswith(tuple(names))]
    unfit = [module for module in targeted if not isinstance(module, nn.Linear | nn.MultiheadAttention)]
    if unfit:
        raise ValueError(
            f"LoRAConfig.targets {config.targets}: peft can't put updates beside {type(unfit[0]).__name__} "
            f"of this {type(model).__name__}, which reads its weights itself; leave it out of targets"
        )
    if config.dropout and any(isinstance(module, nn.MultiheadAttention) for module in targeted):
        raise ValueError(
            f"LoRAConfig.dropout is {config.dropout}, but peft has none on torch's MultiheadAttention: "
            'set it to 0, or targets to ("mlp",)'
        )
    settings = peft.LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=names
    )
    flags = {name: parameter.requires_grad for name, parameter in blocks.named_parameters()}
    before = [(parent, name, child) for parent in blocks.modules() for name, child in parent.named_children()]
    peft.inject_adapter_in_model(settings, blocks)
    del blocks.peft_config
    changes = backbone.linear_calls(model)
    for parent, name, child in before:
        now = getattr(parent, name)
        if now is not child:
            changes.append((parent, name, now))
            setattr(parent, name, child)
    for name, parameter in blocks.named_parameters():  # peft freezes them, or makes them anew
        parameter.requires_grad_(flags[name])
    return changes


def drifts(config: LoRAConfig, module: nn.Module, name: str) -> bool:
    """Whether a weight is of torch's MultiheadAttention.

    `self_attention` leaves them alone; a backbone that calls peft's layer itself has updates added to the
    weights and subtracted again, which rounds.

    Example:
        >>> drifts(LoRAConfig(), nn.MultiheadAttention(8, 2), "in_proj_weight")
        True
    """
    return isinstance(module, nn.MultiheadAttention | nn.modules.linear.NonDynamicallyQuantizableLinear)


def merge(blocks: nn.Module) -> None:
    """Add the updates to the weights, and put the layers inside back in the place of peft's."""
    for parent in list(blocks.modules()):
        for name, child in parent.named_children():
            if hasattr(child, "lora_A") and hasattr(child, "get_base_layer"):
                layer: Any = child
                if hasattr(layer, "unload_and_optionally_merge_module"):  # around torch's MultiheadAttention
                    inside = merge_updates(layer)
                else:
                    layer.merge()
                    inside = layer.get_base_layer()
                setattr(parent, name, inside)


METHOD = Method(LoRAConfig, changes=inject_lora, drifts=drifts, merge=merge, prefix="lora_")
