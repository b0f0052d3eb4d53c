"""By what a saved adapter knows its base again: architecture, activation and a sample of the weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from reid_adapters.backbones import Backbone

SAMPLE = 32
"""Values that are looked at in each parameter, evenly spread."""

PRECISIONS = (torch.float32, torch.bfloat16, torch.float16)
"""A base is the same if its sample is in one of these: it may be kept in half precision where it is used."""

PLAIN = ("Identity", "Dropout", "DropPath", "Dinov2DropPath", "Dinov3ViTDropPath")
"""Layers without weights that are no activations."""


def describe_base(model: nn.Module, backbone: Backbone) -> dict[str, Any]:
    """What a base is, beyond the shapes of its parameters.

    Args:
        model: without adapters.
        backbone: its kind.

    Returns:
        Plain values: the class; activations, numbers of heads and the norms' epsilons of its blocks; digests
        of a sample of its weights in each of PRECISIONS, or None of a model without values.

    Example:
        >>> import timm
        >>> from reid_adapters.backbones.timm_vit import TimmViT
        >>> vit = timm.create_model("vit_tiny_patch16_224", depth=1, num_classes=0)
        >>> described = describe_base(vit, TimmViT())
        >>> described["activation"], described["heads"], described["eps"]
        (["GELU(approximate='none')"], [3], [1e-06])
    """
    modules = list(backbone.blocks(model).modules())
    leaves = [module for module in modules if next(module.children(), None) is None]
    leaves = [leaf for leaf in leaves if next(leaf.parameters(), None) is None]
    heads = {
        getattr(module, name)
        for module in modules
        for name in ("num_heads", "num_attention_heads")
        if isinstance(getattr(module, name, None), int)
    }
    return {
        "class": type(model).__name__,
        "activation": sorted({repr(leaf) for leaf in leaves if type(leaf).__name__ not in PLAIN}),
        "heads": sorted(heads),
        "eps": sorted({module.eps for module in modules if isinstance(getattr(module, "eps", None), float)}),
        "weights": sample_digests(model),
    }


def sample_digests(model: nn.Module) -> dict[str, str] | None:
    """Digests of a sample of a model's weights, by the precision that the sample is rounded to.

    Args:
        model: any module.

    Returns:
        16 hexadecimal digits for each of PRECISIONS; None where the parameters have no values (meta device).

    Example:
        >>> layer = nn.Linear(8, 8)
        >>> whole, half = sample_digests(layer), sample_digests(layer.bfloat16())
        >>> whole["bfloat16"] == half["bfloat16"], whole["float32"] == half["float32"]
        (True, False)
    """
    named = sorted(model.named_parameters())
    if any(parameter.is_meta for _, parameter in named):
        return None
    samples = []
    for _, parameter in named:
        values = parameter.detach().flatten()
        step = max(1, len(values) // SAMPLE)
        samples.append(values[::step][:SAMPLE].cpu().float())
    sample = torch.cat(samples)
    digests = {}
    for precision in PRECISIONS:
        rounded = sample.to(precision).float().numpy()
        name = str(precision).removeprefix("torch.")
        digests[name] = hashlib.sha256(rounded.tobytes()).hexdigest()[:16]
    return digests


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """In what two bases differ, in words.

    Args:
        theirs: what `describe_base` gave for the base of a saved adapter; what it lacks is not compared.
        ours: likewise of the given base.

    Example:
        >>> differences(
        ...     {"activation": ["GELU()"], "heads": [12]}, {"activation": ["QuickGELU()"], "heads": [12]}
        ... )
        ['activation GELU(), not QuickGELU()']
    """
    found = []
    for key in ("class", "activation", "heads", "eps"):
        if key in theirs and theirs[key] != ours.get(key):
            old, new = (_join(side.get(key)) for side in (theirs, ours))
            found.append(f"{key} {old}, not {new}")
    left, right = theirs.get("weights"), ours.get("weights")
    if left and right and not any(left.get(precision) == right[precision] for precision in right):
        found.append("other weights, by a sample of them")
    return found


def _join(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
