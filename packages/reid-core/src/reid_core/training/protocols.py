"""What the training loop asks of an objective, of a logger and of the batches; no torch is imported here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor, nn


class Objective(Protocol):
    """An `nn.Module` that makes named losses of a batch.

    It may have the hooks `AfterStep` and `ParameterGroups` too; `fit` looks for each by its method.

    Example:
        >>> from torch import Tensor, nn
        >>> class Mean(nn.Module):
        ...     def __init__(self) -> None:
        ...         super().__init__()
        ...         self.layer = nn.Linear(2, 1)
        ...
        ...     def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        ...         return {"loss": self.layer(batch["x"]).square().mean()}
        >>> objective: Objective = Mean()
    """

    def forward(self, batch: dict[str, Any], /) -> Mapping[str, Tensor]:
        """Named scalars of a batch, "loss" among them; those beside it are logged.

        Args:
            batch: what collate returns, on the objective's device.

        Returns:
            Name -> scalar tensor. What has more elements than one is not logged.
        """

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Those of `nn.Module`."""


@runtime_checkable
class AfterStep(Protocol):
    """The hook of an objective that moves something after each optimiser step, such as an EMA teacher.

    Example:
        >>> class Counts:
        ...     def after_step(self, step: int) -> None:
        ...         print(step)
        >>> isinstance(Counts(), AfterStep), isinstance(object(), AfterStep)
        (True, False)
    """

    def after_step(self, step: int, /) -> None:
        """Called without gradients.

        Args:
            step: the optimiser step that was just done, from 0.
        """


@runtime_checkable
class ParameterGroups(Protocol):
    """The hook of an objective whose parts have learning rates of their own."""

    def parameter_groups(self) -> Sequence[Mapping[str, Any]]:
        """The parameters to be optimised.

        Returns:
            `{"params": parameters, "lr_multiplier": float}` for each part; the multiplier is 1 where missing.
        """


class Logger(Protocol):
    """Where numbers go, such as `reid_core.tracking.tracker.Tracker`.

    Example:
        >>> class Prints:
        ...     def metrics(self, values: Mapping[str, float], step: int) -> None:
        ...         print(step, dict(values))
        >>> logger: Logger = Prints()
        >>> logger.metrics({"loss": 0.5}, step=20)
        20 {'loss': 0.5}
    """

    def metrics(self, values: Mapping[str, float], /, step: int) -> None:
        """Keep the metrics of a step.

        Args:
            values: name -> number.
            step: optimiser steps done.
        """


class BatchSampler(Protocol):
    """One training's batches for this rank, such as those of `reid_core.data.samplers`.

    A batch is a function of its number alone, so that a resumed training begins with the batch that it would
    have had.

    Example:
        >>> from reid_core.data.samplers import RandomBatches
        >>> batches: BatchSampler = RandomBatches(size=8, batch_size=4, steps=6)
        >>> batches.start = 4
        >>> len(batches), len(list(batches))
        (6, 2)
    """

    start: int
    """Number of the batch with which iteration begins."""

    def __len__(self) -> int:
        """Batches of the whole training, whatever `start` is."""

    def __iter__(self) -> Iterator[list[Any]]:
        """What the data set is indexed by, a list for each batch from `start` on."""
