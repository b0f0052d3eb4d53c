"""LoRA on the same encoders, through the peft library (extra `lora`), for comparison with VSLA."""

from __future__ import annotations

from typing import Any

from torch import nn

from reid_adapters.config import LoRAConfig


def inject_lora(blocks: nn.Module, targets: dict[str, tuple[str, ...]], config: LoRAConfig) -> None:
    """Put low-rank updates beside linear layers, in place (Hu et al., ICLR 2022).

    Args:
        blocks: the module that holds a transformer's blocks.
        targets: names of a block's layers under "attention" and "mlp".
        config: rank, scale and which of the layers.

    Raises:
        ImportError: peft is not there.
        ValueError: dropout on torch's MultiheadAttention, where peft would leave it out.

    Example:
        >>> blocks = nn.ModuleList([nn.ModuleDict({"mlp": nn.Linear(8, 8)})])
        >>> inject_lora(blocks, {"mlp": ("mlp",)}, LoRAConfig(rank=2, targets=("mlp",)))
        >>> sum(p.numel() for p in blocks.parameters() if p.requires_grad)
        32
    """
    try:
        import peft
    except ImportError as error:
        raise ImportError("LoRAConfig needs peft: pip install 'reid-adapters[lora]'") from error
    names = [name for target in config.targets for name in targets[target]]
    targeted = (module for name, module in blocks.named_modules() if name.endswith(tuple(names)))
    if config.dropout and any(isinstance(module, nn.MultiheadAttention) for module in targeted):
        raise ValueError(
            f"LoRAConfig.dropout is {config.dropout}, but peft has none on torch's MultiheadAttention: "
            'set it to 0, or targets to ("mlp",)'
        )
    settings = peft.LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=names
    )
    peft.inject_adapter_in_model(settings, blocks)


def remove_lora(blocks: nn.Module) -> None:
    """Put the layers inside back in the place of those that peft put in; what updates did to weights stays.

    Example:
        >>> blocks = nn.Sequential(nn.Linear(8, 8))
        >>> inject_lora(blocks, {"mlp": ("0",)}, LoRAConfig(rank=2, targets=("mlp",)))
        >>> remove_lora(blocks)
        >>> blocks
        Sequential(
          (0): Linear(in_features=8, out_features=8, bias=True)
        )
    """
    for parent in list(blocks.modules()):
        for name, child in parent.named_children():
            if hasattr(child, "lora_A") and hasattr(child, "get_base_layer"):
                inside: Any = child
                setattr(parent, name, inside.get_base_layer())
    if hasattr(blocks, "peft_config"):
        del blocks.peft_config
