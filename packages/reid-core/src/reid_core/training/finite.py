"""Losses, gradients and weights that are not finite: found without waiting for the device at each step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reid_core.training.optimisers import norms


def not_finite(module: nn.Module) -> list[str]:
    """Names of a module's parameters and buffers that hold what is not finite.

    Args:
        module: floating-point tensors are looked at. A buffer may hold infinities, as masks do, but no NaN.

    Returns:
        Dotted names.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> nn.init.constant_(layer.bias, torch.nan) is layer.bias
        True
        >>> not_finite(layer)
        ['bias']
    """
    names, values = _state_norms(module)
    return [name for name, value in zip(names, values.tolist(), strict=True) if not isfinite(value)]


def _state_norms(module: nn.Module) -> tuple[list[str], Tensor]:
    """Names of parameters and buffers, and a number for each that is finite if they are, on their device."""
    parameters = {name: p for name, p in module.named_parameters() if p.is_floating_point()}
    buffers = {name: b for name, b in module.named_buffers() if b.is_floating_point()}
    ours, theirs = norms(parameters.values()), norms(buffers.values())
    theirs = theirs.masked_fill(theirs.isinf(), 0.0).to(ours.device)
    return [*parameters, *buffers], torch.cat([ours, theirs])


@dataclass
class _Batch:
    """What is kept of a batch until the next check."""

    step: int
    number: int
    names: list[str]
    values: Tensor
    files: Mapping[str, list[str]]


class FiniteCheck:
    """Keeps the losses and gradient norms of each step on the device, and looks at them from time to time.

    Between two checks nothing is read from the device, so the host runs ahead of it. A check reads once: the
    losses and gradient norms since the last check, and the norms of all weights as they are.

    Args:
        objective: the module in training.
        last: file of the last checkpoint, for the message.
        items: number of a batch -> what of the data set it was made of, for the message.
        step: optimiser steps done.

    Example:
        >>> check = FiniteCheck(nn.Linear(2, 1), Path("last.ckpt"), lambda number: [4, 7])
        >>> check.add_batch(0, 0, ["loss"], torch.tensor([torch.nan]), {"path": ["4.jpg", "7.jpg"]})
        >>> try:
        ...     check.read(1)
        ... except FloatingPointError as error:
        ...     print(str(error).partition(";")[0])
        the loss is not finite at step 0: loss=nan
    """

    def __init__(
        self, objective: nn.Module, last: Path, items: Callable[[int], list[Any]], step: int = 0
    ) -> None:
        self.objective, self.last, self.items, self.first = objective, last, items, step
        self.batches: list[_Batch] = []
        self.gradients: dict[int, Tensor] = {}

    def add_batch(
        self, step: int, number: int, names: list[str], values: Tensor, files: Mapping[str, list[str]]
    ) -> None:
        """Take note of a batch's losses.

        Args:
            step: optimiser step that the batch is part of, from 0.
            number: of the batch, from 0.
            names: names of the losses, "loss" among them.
            values: `[len(names)]` float32, the losses.
            files: of the batch, to be named with the losses.
        """
        self.batches.append(_Batch(step, number, names, values, files))

    def add_gradients(self, step: int, parameters: Iterable[nn.Parameter]) -> None:
        """Take note of the norm of a step's gradient, before it is clipped.

        Args:
            step: optimiser step, from 0.
            parameters: what the step will change.
        """
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if gradients:
            self.gradients[step] = norms(gradients).norm()

    def read(self, step: int, scaled: bool = False, any_process: Callable[[bool], bool] = bool) -> int:
        """Wait for the device and look at what was noted since the last check.

        Args:
            step: optimiser steps done.
            scaled: whether a gradient scaler (precision=16-mixed) leaves out the updates whose gradients are
                not finite, by design: then these are counted, and are no error.
            any_process: whether something is true in any of the processes; called once in each.

        Returns:
            The number of updates that were left out.

        Raises:
            FloatingPointError: something is not finite. The message names the first such step, its losses and
                batch, and the steps since the last check.
        """
        names, weights = _state_norms(self.objective)
        losses = [batch.values[batch.names.index("loss")] for batch in self.batches]
        noted = torch.stack([*losses, *self.gradients.values()])
        numbers = iter(torch.cat([noted, weights.to(noted.device)]).tolist())
        bad_batches = [batch for batch in self.batches if not isfinite(next(numbers))]
        bad_steps = [step for step in self.gradients if not isfinite(next(numbers))]
        bad_weights = [name for name in names if not isfinite(next(numbers))]
        skipped = len(bad_steps) if scaled else 0
        if scaled:
            bad_steps = []
        if any_process(bool(bad_batches or bad_steps or bad_weights)):
            raise FloatingPointError(self._message(step, bad_batches, bad_steps, bad_weights))
        self.batches, self.gradients, self.first = [], {}, step
        return skipped

    def _message(
        self, step: int, bad_batches: list[_Batch], bad_steps: list[int], bad_weights: list[str]
    ) -> str:
        batch = self.batches[-1]
        if bad_batches and not (bad_steps and bad_steps[0] < bad_batches[0].step):
            what, batch = "the loss is", bad_batches[0]
        elif bad_steps:
            what = "the gradient is"
            batch = next(b for b in reversed(self.batches) if b.step == bad_steps[0])
        elif bad_weights:
            what = f"weights ({list_some(bad_weights)}) are"
        else:
            what = "in another process a loss, gradient or weight is"
        pairs = zip(batch.names, batch.values.tolist(), strict=True)
        losses = ", ".join(f"{name}={value:g}" for name, value in pairs)
        data = [f"items {list_some(self.items(batch.number))} of the data set"]
        data += [f"{key}: {list_some(files)}" for key, files in batch.files.items() if files]
        kept = (
            f"{self.last} holds the last good checkpoint"
            if self.last.exists()
            else "there is no checkpoint yet"
        )
        return (
            f"{what} not finite at step {batch.step}: {losses}; lower lr, set clip_grad, use "
            f"precision=32-true, or look at the data ({'; '.join(data)}); steps {self.first} to {step - 1} "
            f"were checked together; {kept}"
        )


def list_some(things: Sequence[Any], most: int = 5) -> str:
    """The first of several things, and how many more there are, for messages.

    Args:
        things: what to list.
        most: of which so many are listed.

    Example:
        >>> list_some(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    rest = f" and {len(things) - most} more" if len(things) > most else ""
    return ", ".join(str(thing) for thing in things[:most]) + rest
