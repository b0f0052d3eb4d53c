"""The training loop: any objective, on any devices, resumed after a kill as if nothing had happened."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import os
import time
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch import nn
from torch.utils.data import DataLoader

from reid_core.progress import Progress

LAST = "last.ckpt"
FINAL = "final.pt"
UNREADABLE = "unreadable.txt"


@dataclass
class TrainConfig:
    """How to train.

    Example:
        >>> TrainConfig(steps=1000, precision="bf16-mixed").warmup_steps
        100

    Raises:
        ValueError: a number is out of its range.
    """

    steps: int = 10_000
    """Optimiser steps of the whole training."""
    lr: float = 3.5e-4
    """Highest learning rate, reached after the warm-up."""
    min_lr: float = 1e-6
    """Learning rate at the end of the cosine."""
    warmup_steps: int = 100
    """Steps in which the learning rate rises linearly to `lr`; fewer than `steps`."""
    weight_decay: float = 0.04
    """AdamW's decoupled weight decay at the start; parameters with fewer than two axes have none."""
    weight_decay_end: float | None = None
    """Weight decay at the end of its cosine; None keeps it constant."""
    clip_grad: float | None = None
    """Largest norm of the whole gradient; None does not clip."""
    precision: str = "32-true"
    """Lightning's precision: 32-true, bf16-mixed, 16-mixed, ..."""
    accelerator: str = "auto"
    """Lightning's accelerator: auto, cpu, gpu, mps, ..."""
    devices: int | str = 1
    """Devices on each machine, or auto."""
    num_nodes: int = 1
    """Machines."""
    strategy: str = "auto"
    """Lightning's strategy: auto, ddp, ddp_find_unused_parameters_true, fsdp, ..."""
    accumulate: int = 1
    """Batches whose gradients are summed up for one optimiser step."""
    checkpoint_every: int = 500
    """Optimiser steps between two checkpoints."""
    log_every: int = 20
    """Optimiser steps between two records of the metrics."""
    workers: int = 0
    """Processes that load data on each rank; 0 loads in the training process."""

    def __post_init__(self) -> None:
        for name in ("steps", "accumulate", "checkpoint_every", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; it must be at least 1")
        if not 0 <= self.warmup_steps < self.steps:
            raise ValueError(
                f"warmup_steps={self.warmup_steps}; it must be at least 0 and less than steps={self.steps}"
            )
        if self.lr <= 0 or not 0 <= self.min_lr <= self.lr:
            raise ValueError(f"lr={self.lr}, min_lr={self.min_lr}; expected 0 <= min_lr <= lr and 0 < lr")
        if self.weight_decay < 0 or (self.weight_decay_end or 0) < 0 or (self.clip_grad or 0) < 0:
            raise ValueError("weight_decay, weight_decay_end and clip_grad must not be negative")


def cosine(start: float, end: float, done: float) -> float:
    """Half a cosine from start to end: `end + (start - end) (1 + cos(pi done)) / 2`.

    Args:
        start: value at done = 0.
        end: value at done = 1.
        done: part of the way, in 0..1.

    Returns:
        The value on the way.

    Example:
        >>> cosine(1.0, 0.0, 0.5)
        0.5
    """
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


def schedule(config: TrainConfig, step: int) -> tuple[float, float]:
    """Learning rate and weight decay of a step.

    The rate is `lr (step + 1) / warmup_steps` in the warm-up, then a cosine to `min_lr`; weight decay is a cosine
    over the whole training (DINO, Caron et al., ICCV 2021, section 4).

    Args:
        config: the training's settings.
        step: optimiser step, from 0.

    Returns:
        (learning rate, weight decay).

    Example:
        >>> schedule(TrainConfig(steps=10, warmup_steps=2, lr=1.0, weight_decay=0.1), 0)
        (0.5, 0.1)
    """
    end = config.weight_decay if config.weight_decay_end is None else config.weight_decay_end
    decay = cosine(config.weight_decay, end, step / max(1, config.steps - 1))
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps, decay
    after = max(1, config.steps - 1 - config.warmup_steps)
    return cosine(config.lr, config.min_lr, min(1.0, (step - config.warmup_steps) / after)), decay


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
    given = make() if make is not None else [{"params": objective.parameters()}]
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


def fit(
    objective: nn.Module,
    dataset: Any,
    batches: Any,
    collate: Callable[[list[Any]], dict[str, Any]] | None,
    config: TrainConfig,
    folder: str | Path,
    seed: int = 0,
    logger: Any = None,
) -> Path:
    """Train an objective; called again after a kill, go on from the last checkpoint.

    A training that was killed and resumed on the CPU ends with the same bits as one that was not, as long as all
    chance comes from torch (reseeded at every batch from seed, batch and rank), from `batches` and from the items'
    own seeds. A finished training returns at once. In each case the objective holds the final weights afterwards.
    With several machines `folder` must be on storage that they share.

    Args:
        objective: module with `forward(batch) -> dict` of scalar losses and metrics, "loss" among them. Optional:
            `after_step(step)`, called without gradients after each optimiser step with that step's number (from
            0); `parameter_groups()`, see `parameter_groups`.
        dataset: map-style dataset, indexed by what `batches` yields.
        batches: sized iterable of one training's batches for this rank, whose attribute `start` says with which
            batch iteration begins; at least `config.steps * config.accumulate` batches.
        collate: makes a batch dict of a list of items; None for torch's default. An entry "unreadable" (list of
            paths) is taken out, warned about and listed in folder/unreadable.txt.
        config: how to train.
        folder: where last.ckpt, final.pt and unreadable.txt are kept; made if missing.
        seed: seed of dropout, masks and whatever else the objective draws from torch.
        logger: anything with `metrics(dict, step)`, called on rank 0 every `config.log_every` steps with the
            means of the objective's scalars since the last call (rank 0's own), "lr", "weight_decay",
            "images_per_second" and "unreadable"; None logs nothing.

    Returns:
        Path of final.pt: `{"state_dict": the objective's, "step": int}`, for `torch.load(weights_only=True)`.

    Raises:
        ValueError: too few batches, or a checkpoint in folder that does not fit the objective or config.
        FloatingPointError: the loss is not finite.

    Example:
        >>> import tempfile
        >>> from torch.utils.data import BatchSampler, SequentialSampler
        >>> class Mean(nn.Linear):
        ...     def forward(self, batch):
        ...         return {"loss": super().forward(batch["x"]).square().mean()}
        >>> data = [{"x": torch.ones(2)}] * 8
        >>> class Batches(list):
        ...     start = 0
        ...     def __iter__(self):
        ...         return iter(self[self.start:])
        >>> config = TrainConfig(steps=2, warmup_steps=0, accelerator="cpu")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     final = fit(Mean(2, 1), data, Batches([[0, 1], [2, 3]]), None, config, folder)
        ...     torch.load(final, weights_only=True)["step"]
        2
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if len(batches) < config.steps * config.accumulate:
        raise ValueError(
            f"batches has {len(batches)}, but steps={config.steps} with accumulate={config.accumulate} need "
            f"{config.steps * config.accumulate}; build the sampler with steps=config.steps * config.accumulate"
        )
    final, last = folder / FINAL, folder / LAST
    if final.exists() and _read(final, mmap=True)["step"] == config.steps:
        _load(final, objective, config)
        return final
    state = _load(last, objective, config) if last.exists() else None
    module = _Module(objective, config, folder, seed, logger, state)
    batches.start = module.step * config.accumulate
    on_gpu = config.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    loader = DataLoader(
        dataset, batch_sampler=batches, collate_fn=collate, num_workers=config.workers, pin_memory=on_gpu
    )
    objective.train()
    with _quiet():
        trainer = pl.Trainer(
            accelerator=config.accelerator,
            devices=config.devices,
            num_nodes=config.num_nodes,
            strategy=config.strategy,
            precision=config.precision,  # type: ignore[arg-type]
            accumulate_grad_batches=config.accumulate,
            gradient_clip_val=config.clip_grad,
            max_epochs=1,
            max_steps=config.steps - module.step,
            default_root_dir=folder,
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        label, first = folder.name or "training", module.step
        with Progress(label, config.steps, first, enabled=trainer.is_global_zero) as module.progress:
            trainer.fit(module, loader)
    return final


class _Module(pl.LightningModule):
    """Steps an objective; the step count, chance, metrics and checkpoints are kept here, not in Lightning's loops.

    Lightning would count the batches of a resumed epoch from the loader's beginning; here a resumed training is
    one Lightning epoch over the batches that are left.
    """

    progress: Progress

    def __init__(
        self,
        objective: nn.Module,
        config: TrainConfig,
        folder: Path,
        seed: int,
        logger: Any,
        state: dict[str, Any] | None,
    ) -> None:
        super().__init__()
        self.objective = objective
        self.config, self.folder, self.seed, self.tracker, self.restored = config, folder, seed, logger, state
        self.step: int = state["step"] if state else 0
        self.batch = self.step * config.accumulate
        self.means = _Means()
        self.unreadable = _Unreadable(folder / UNREADABLE)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(parameter_groups(self.objective), lr=self.config.lr)

    def on_fit_start(self) -> None:
        if self.restored is None:
            return
        try:
            self.trainer.strategy.load_optimizer_state_dict({"optimizer_states": [self.restored["optimizer"]]})
        except ValueError as error:
            raise ValueError(
                f"{self.folder / LAST} was written with other parameter groups ({error}); train this objective "
                "in another folder, or restore the one this folder belongs to"
            ) from error
        self.trainer.precision_plugin.load_state_dict(self.restored["precision"])
        self.restored = None

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        torch.manual_seed(_mix(self.seed, self.batch, self.trainer.global_rank))
        self.unreadable.add(batch.pop("unreadable", []))
        losses = self.objective(batch)
        if not torch.isfinite(losses["loss"]):
            values = ", ".join(f"{name}={float(value):g}" for name, value in losses.items())
            raise FloatingPointError(
                f"the loss is not finite at step {self.step}: {values}; lower lr, set clip_grad, use "
                f"precision=32-true, or look at the data; {self.folder / LAST} holds the last checkpoint"
            )
        self.means.add(losses, _count_images(batch) * self.trainer.world_size)
        return losses["loss"]

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        lr, decay = schedule(self.config, self.step)
        for group in optimizer.param_groups:
            group["lr"] = lr * group["lr_multiplier"]
            group["weight_decay"] = decay if group["decays"] else 0.0
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.batch += 1
        if self.batch % self.config.accumulate:
            return
        after_step = getattr(self.objective, "after_step", None)
        if after_step is not None:
            with torch.no_grad():
                after_step(self.step)
        self.step += 1
        finished = self.step == self.config.steps
        if self.trainer.is_global_zero:
            if self.progress.due(self.step):
                self.progress.update(self.step, f"loss {self.means.last():.4f}")
            if finished or self.step % self.config.log_every == 0:
                self._log()
        if finished or self.step % self.config.checkpoint_every == 0:
            self._save(finished)

    def _log(self) -> None:
        metrics = self.means.take()
        metrics["lr"], metrics["weight_decay"] = schedule(self.config, self.step - 1)
        metrics["unreadable"] = float(len(self.unreadable.paths))
        if self.tracker is not None:
            self.tracker.metrics(metrics, step=self.step)

    def _save(self, finished: bool) -> None:
        strategy = self.trainer.strategy  # gathers what is spread over ranks, so every rank comes here
        states = strategy.lightning_module_state_dict()
        state = {
            "state_dict": {name.removeprefix("objective."): value for name, value in states.items()},
            "step": self.step,
        }
        optimizer = strategy.optimizer_state(strategy.optimizers[0])
        if self.trainer.is_global_zero:
            if finished:  # first: a kill before the next line leaves a finished training
                _write(state, self.folder / FINAL)
            precision = self.trainer.precision_plugin.state_dict()
            _write(state | {"optimizer": optimizer, "precision": precision}, self.folder / LAST)
        strategy.barrier("checkpoint")


class _Means:
    """Means of scalars and images a second since the last look, added up on the device without waiting for it."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.values = self.total = torch.zeros(0)
        self.batches = self.images = 0
        self.began = time.monotonic()

    def add(self, losses: Mapping[str, Tensor], images: int) -> None:
        names = list(losses)
        values = torch.stack([torch.as_tensor(value).detach().float().reshape(()) for value in losses.values()])
        if self.batches == 0 or names != self.names:
            self.names, self.total, self.batches = names, torch.zeros_like(values), 0
        self.values = values
        self.total += values
        self.batches += 1
        self.images += images

    def last(self) -> float:
        """The last batch's loss."""
        return float(self.values[self.names.index("loss")])

    def take(self) -> dict[str, float]:
        means = (self.total / max(1, self.batches)).tolist()
        now = time.monotonic()
        metrics = dict(zip(self.names, means, strict=True))
        metrics["images_per_second"] = self.images / max(1e-9, now - self.began)
        self.batches = self.images = 0
        self.began = now
        return metrics


class _Unreadable:
    """Paths that could not be read, each warned about once and kept in a text file, one a line."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.paths = set(file.read_text().splitlines()) if file.exists() else set()

    def add(self, paths: list[str]) -> None:
        for path in dict.fromkeys(paths):
            if path in self.paths:
                continue
            # Appending, not renaming: several ranks may write.
            with self.file.open("a") as lines:
                lines.write(f"{path}\n")
            self.paths.add(path)
            warnings.warn(f"cannot read {path}; another image takes its place ({self.file})", stacklevel=2)


def _mix(*numbers: int) -> int:
    """A 64-bit seed in which every number counts."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _count_images(batch: Mapping[str, Any]) -> int:
    """Images of a batch: those in "image", and all frames in "clip"; otherwise the items of the first tensor."""
    known = [batch["image"].shape[0]] if torch.is_tensor(batch.get("image")) else []
    if torch.is_tensor(batch.get("clip")):
        known.append(math.prod(batch["clip"].shape[:2]))
    tensors = (len(value) for value in batch.values() if torch.is_tensor(value) and value.ndim)
    return sum(known) if known else next(tensors, 0)


def _write(state: dict[str, Any], path: Path) -> None:
    temporary = path.with_name(path.name + ".writing")
    torch.save(state, temporary)
    os.replace(temporary, path)


def _read(path: Path, mmap: bool = False) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        state["state_dict"], state["step"]
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(
            f"{path} is not a checkpoint of this training loop ({error}); move it away to begin anew"
        ) from error
    return state


def _load(path: Path, objective: nn.Module, config: TrainConfig) -> dict[str, Any]:
    """Load a checkpoint into the objective, or say why it does not fit."""
    state = _read(path)
    if state["step"] > config.steps:
        raise ValueError(
            f"{path} is at step {state['step']}, beyond steps={config.steps}; use another folder for a shorter training"
        )
    theirs, ours = state["state_dict"], objective.state_dict()
    differences = {
        "missing": [name for name in ours if name not in theirs],
        "unexpected": [name for name in theirs if name not in ours],
        "of another shape": [
            f"{name} {_shape(theirs[name])} instead of {_shape(ours[name])}"
            for name in ours
            if name in theirs and _shape(theirs[name]) != _shape(ours[name])
        ],
    }
    if any(differences.values()):
        found = "; ".join(f"{kind}: {_some(names)}" for kind, names in differences.items() if names)
        raise ValueError(
            f"{path} holds another architecture than this {type(objective).__name__} ({found}); train it in another "
            "folder, move the file away to begin anew, or restore the settings this folder was trained with"
        )
    objective.load_state_dict(theirs)
    return state


def _shape(value: Any) -> tuple[int, ...] | None:
    return tuple(value.shape) if torch.is_tensor(value) else None


def _some(names: list[str], most: int = 5) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(itertools.islice(names, most)) + rest


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's notes on devices, loaders and products; its errors, and others' warnings, still come."""
    names = ("lightning.pytorch", "lightning.fabric")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
