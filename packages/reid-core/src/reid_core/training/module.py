"""The objective as Lightning sees it: steps, seeds, checks, metrics and checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor, nn

from reid_core.data.samplers import mix
from reid_core.progress import Progress
from reid_core.training.checkpoints import FINAL, LAST, write_checkpoint
from reid_core.training.config import TrainConfig
from reid_core.training.finite import FiniteCheck
from reid_core.training.metrics import Means, Unreadable, count_images
from reid_core.training.optimisers import build_optimizer, clip_each
from reid_core.training.protocols import AfterStep, Logger
from reid_core.training.schedules import schedule

UNREADABLE = "unreadable.txt"
FILES = ("path", "unreadable")
"""Entries of a batch that name files."""


class TrainingModule(pl.LightningModule):
    """Runs an objective's steps; step count, seeds, metrics and checkpoints are kept here, not by Lightning.

    Lightning would count the batches of a resumed epoch from the loader's beginning; here a resumed training
    is one Lightning epoch over the batches that are left.

    Args:
        objective: module with `forward(batch)`.
        config: how to train.
        folder: where checkpoints are kept.
        seed: of all that the objective draws from torch.
        digest: written into the checkpoints.
        logger: gets the metrics.
        items: number of a batch -> what of the data set it is made of, for messages.
        state: checkpoint to resume from, whose weights the objective has already.
    """

    progress: Progress

    def __init__(
        self,
        objective: nn.Module,
        config: TrainConfig,
        folder: Path,
        seed: int,
        digest: str,
        logger: Logger | None,
        items: Callable[[int], list[Any]],
        state: dict[str, Any] | None,
    ) -> None:
        super().__init__()
        self.objective = objective
        self.config, self.folder, self.seed, self.digest = config, folder, seed, digest
        self.tracker, self.restored = logger, state
        self.step: int = state["step"] if state else 0
        self.batch = self.step * config.accumulate
        self.skipped = 0
        self.means = Means()
        self.unreadable = Unreadable(folder / UNREADABLE)
        self.finite = FiniteCheck(objective, folder / LAST, items, self.step)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        strategy = self.trainer.strategy
        plain = type(strategy) in (SingleDeviceStrategy, DDPStrategy)  # parameters whole, gradients unscaled
        fused = plain and strategy.root_device.type == "cuda" and not self._scaled
        return build_optimizer(self.objective, self.config, fused)

    @property
    def _scaled(self) -> bool:
        """Whether a gradient scaler leaves out updates (precision=16-mixed)."""
        return getattr(self.trainer.precision_plugin, "scaler", None) is not None

    def on_fit_start(self) -> None:
        if self.restored is None:
            return
        saved, ours = self.restored["optimizer"]["param_groups"], self.trainer.optimizers[0].param_groups
        for group, own in zip(saved, ours, strict=False):
            # torch takes a group's options from the checkpoint: factors and kernels are this training's
            group.update({name: value for name, value in own.items() if name != "params"})
        try:
            self.trainer.strategy.load_optimizer_state_dict(
                {"optimizer_states": [self.restored["optimizer"]]}
            )
        except ValueError as error:
            raise ValueError(
                f"{self.folder / LAST} was written with other parameter groups ({error}); train this "
                "objective in another folder, or restore the one this folder belongs to"
            ) from error
        self.trainer.precision_plugin.load_state_dict(self.restored["precision"])
        self.restored = None

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        torch.manual_seed(mix(self.seed, self.batch, self.trainer.global_rank))
        files = {name: batch[name] for name in FILES if isinstance(batch.get(name), list)}
        self.unreadable.add(batch.pop("unreadable", []))
        losses = self.objective(batch)
        if "loss" not in losses:
            raise ValueError(
                f'{type(self.objective).__name__} returned {sorted(losses)}; expected "loss" among them'
            )
        self.means.add(losses, count_images(batch) * self.trainer.world_size)
        self.finite.add_batch(self.step, self.batch, self.means.names, self.means.values, files)
        return losses["loss"]

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.finite.add_gradients(self.step, _parameters(optimizer))

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        if self.config.clip_mode == "parameter" and self.config.clip_grad is not None:
            clip_each(_parameters(optimizer), self.config.clip_grad)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        lr, decay = schedule(self.config, self.step)
        for group in optimizer.param_groups:
            group["lr"] = lr * group["lr_multiplier"]
            group["weight_decay"] = decay if group["decays"] else group["constant_decay"]
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.batch += 1
        if self.batch % self.config.accumulate:
            return
        if isinstance(self.objective, AfterStep):
            with torch.no_grad():
                self.objective.after_step(self.step)
        self.step += 1
        finished = self.step == self.config.steps
        logs = finished or self.step % self.config.log_every == 0
        saves = finished or self.step % self.config.checkpoint_every == 0
        if logs or saves:
            self.skipped += self.finite.read(self.step, self._scaled, self._any_process)
        if self.trainer.is_global_zero:
            if self.progress.due(self.step):
                self.progress.update(self.step, f"loss {self.means.last():.4f}")
            if logs:
                self._log()
        if saves:
            self._save(finished)

    def _any_process(self, value: bool) -> bool:
        if self.trainer.world_size == 1:
            return value
        flag = torch.tensor(float(value), device=self.device)
        return bool(self.trainer.strategy.reduce(flag, reduce_op="sum"))

    def _log(self) -> None:
        metrics = self.means.take()
        metrics["lr"], metrics["weight_decay"] = schedule(self.config, self.step - 1)
        metrics["unreadable"] = float(len(self.unreadable.paths))
        if self._scaled:
            metrics["skipped_updates"] = float(self.skipped)
        if self.tracker is not None:
            self.tracker.metrics(metrics, step=self.step)

    def _save(self, finished: bool) -> None:
        strategy = self.trainer.strategy  # gathers what is spread over ranks, so every rank comes here
        states = strategy.lightning_module_state_dict()
        state = {
            "state_dict": {name.removeprefix("objective."): value for name, value in states.items()},
            "step": self.step,
            "digest": self.digest,
        }
        optimizer = strategy.optimizer_state(strategy.optimizers[0])
        if self.trainer.is_global_zero:
            if finished:  # first: a kill before the next line leaves a finished training
                write_checkpoint(state, self.folder / FINAL)
            more = {
                "optimizer": optimizer,
                "optimizer_name": self.config.optimizer,
                "precision": self.trainer.precision_plugin.state_dict(),
            }
            write_checkpoint(state | more, self.folder / LAST)
        strategy.barrier("checkpoint")


def _parameters(optimizer: Any) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
