"""Parameter groups, optimisers and the clipping of gradients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from reid_core.training.config import TrainConfig
from reid_core.training.protocols import ParameterGroups

CLIP_EPSILON = 1e-6
"""Added to a norm before a gradient is divided by it (DINO's clip_gradients, torch's clip_grad_norm_)."""


def parameter_groups(objective: nn.Module, config: TrainConfig | None = None) -> list[dict[str, Any]]:
    """An optimiser's parameter groups: what decays, what doesn't, and whose learning rates have factors.

    By default matrices have weight decay, and vectors and scalars (norms, biases) have none (DINO's
    get_params_groups). `config` may let vectors decay too, give biases a learning rate and a weight decay of
    their own (Bag of Tricks' and TransReID's BIAS_LR_FACTOR and WEIGHT_DECAY_BIAS) and heads a learning rate
    (TransReID's LARGE_FC_LR, fast-reid's HEADS_LR_FACTOR); the factors are multiplied.

    An objective may have a method `parameter_groups()` that returns a list of
    `{"params": [...], "lr_multiplier": float}`; each is split in the same way.

    Args:
        objective: module whose trainable parameters are to be optimised.
        config: the training's settings; None for the defaults.

    Returns:
        Groups with "params", "lr_multiplier", "decays" (bool, whether the weight decay is the schedule's) and
        "constant_decay" (float, the weight decay where it is not).

    Raises:
        ValueError: nothing is trainable, or a factor is meant for heads that aren't there.

    Example:
        >>> [(len(g["params"]), g["decays"]) for g in parameter_groups(nn.Linear(2, 3))]
        [(1, True), (1, False)]
        >>> twice = TrainConfig(bias_lr_factor=2.0, weight_decay_bias=1e-4)
        >>> [(g["lr_multiplier"], g["constant_decay"]) for g in parameter_groups(nn.Linear(2, 3), twice)]
        [(1.0, 0.0), (2.0, 0.0001)]
    """
    config = config or TrainConfig()
    names = {id(parameter): name for name, parameter in objective.named_parameters(remove_duplicate=False)}
    heads = {key for key, name in names.items() if not set(config.heads).isdisjoint(name.split("."))}
    if config.head_lr_factor != 1 and not heads:
        raise ValueError(
            f"head_lr_factor={config.head_lr_factor}, but {type(objective).__name__} has no module named one "
            f"of heads={list(config.heads)}; name its classifier in heads"
        )
    given: Sequence[Mapping[str, Any]] = [{"params": objective.parameters()}]
    if isinstance(objective, ParameterGroups):
        given = objective.parameter_groups()
    groups = []
    for group in given:
        kinds: dict[tuple[float, bool, float], list[nn.Parameter]] = {}
        trainable = [p for p in group["params"] if p.requires_grad]
        for parameter in sorted(trainable, key=lambda p: p.ndim < 2):  # matrices first
            multiplier = float(group.get("lr_multiplier", 1.0))
            decays, constant = parameter.ndim >= 2 or config.decay_vectors, 0.0
            if names.get(id(parameter), "").rpartition(".")[2] == "bias":
                multiplier *= config.bias_lr_factor
                if config.weight_decay_bias is not None:
                    decays, constant = False, config.weight_decay_bias
            if id(parameter) in heads:
                multiplier *= config.head_lr_factor
            kinds.setdefault((multiplier, decays, constant), []).append(parameter)
        groups += [
            {"params": parameters, "lr_multiplier": multiplier, "decays": decays, "constant_decay": constant}
            for (multiplier, decays, constant), parameters in kinds.items()
        ]
    if not groups:
        raise ValueError(f"{type(objective).__name__} has no trainable parameter; check requires_grad")
    return groups


def build_optimizer(objective: nn.Module, config: TrainConfig, fused: bool = False) -> torch.optim.Optimizer:
    """The optimiser that `config` names, over `parameter_groups`.

    Args:
        objective: module whose trainable parameters are to be optimised.
        config: the training's settings.
        fused: whether torch's fused kernels are used, one for each group; False leaves torch its choice.

    Returns:
        AdamW, Adam or SGD.

    Raises:
        ValueError: nothing is trainable.

    Example:
        >>> build_optimizer(nn.Linear(2, 3), TrainConfig(optimizer="sgd", nesterov=True)).defaults["nesterov"]
        True
    """
    groups = parameter_groups(objective, config)
    kernels = True if fused else None
    if config.optimizer == "sgd":
        momentum, nesterov = config.momentum, config.nesterov
        return torch.optim.SGD(groups, config.lr, momentum=momentum, nesterov=nesterov, fused=kernels)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.lr, fused=kernels)


def norms(tensors: Iterable[Tensor]) -> Tensor:
    """The Euclidean norm of each tensor, computed where the tensors are and without waiting for it.

    Args:
        tensors: floating-point tensors on one device; of a sharded one this process's part counts.

    Returns:
        `[n]` float32; a norm is not finite if an element is not, or if the sum of squares overflows.

    Example:
        >>> norms([torch.tensor([3.0, 4.0]), torch.zeros(2, 2)])
        tensor([5., 0.])
    """
    local = [tensor.to_local() if hasattr(tensor, "to_local") else tensor for tensor in tensors]
    if not local:
        return torch.zeros(0)
    with torch.no_grad():
        return torch.stack(torch._foreach_norm(local, 2, torch.float32))


def clip_each(parameters: Iterable[nn.Parameter], largest: float) -> None:
    """Scale each parameter's gradient down to a norm, by itself: `g = g min(1, largest / (|g| + 1e-6))`.

    As DINO's and iBOT's published code does (clip_gradients in their utils.py), where torch's clip_grad_norm_
    scales all gradients by one factor.

    Args:
        parameters: those with a gradient are clipped, in place.
        largest: norm that a gradient has at most.

    Example:
        >>> parameter = nn.Parameter(torch.zeros(2))
        >>> parameter.grad = torch.tensor([3.0, 4.0])
        >>> clip_each([parameter], largest=1.0)
        >>> parameter.grad
        tensor([0.6000, 0.8000])
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if gradients:
        factors = (largest / (norms(gradients) + CLIP_EPSILON)).clamp(max=1.0)
        torch._foreach_mul_(gradients, list(factors.unbind()))
