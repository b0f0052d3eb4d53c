"""Parameter groups and optimisers."""

from __future__ import annotations

from typing import Any

from torch import nn


def parameter_groups(objective: nn.Module) -> list[dict[str, Any]]:
    """AdamW's parameter groups: matrices with weight decay, vectors and scalars (norms, biases) without.

    An objective may have a method `parameter_groups()` that returns a list of
    `{"params": [...], "lr_multiplier": float}`; each is split in the same way.

    Args:
        objective: module whose trainable parameters are to be optimised.

    Returns:
        Groups with "params", "lr_multiplier" and "decays" (bool).

    Raises:
        ValueError: nothing is trainable.

    Example:
        >>> [(len(g["params"]), g["decays"]) for g in parameter_groups(nn.Linear(2, 3))]
        [(1, True), (1, False)]
    """
    make = getattr(objective, "parameter_groups", None)
    given: list[dict[str, Any]] = make() if make is not None else [{"params": objective.parameters()}]
    groups = []
    for group in given:
        trainable = [p for p in group["params"] if p.requires_grad]
        for decays in (True, False):
            chosen = [p for p in trainable if (p.ndim >= 2) == decays]
            if chosen:
                multiplier = float(group.get("lr_multiplier", 1.0))
                groups.append({"params": chosen, "lr_multiplier": multiplier, "decays": decays})
    if not groups:
        raise ValueError(f"{type(objective).__name__} has no trainable parameter; check requires_grad")
    return groups
