"""The training loop: any objective, on any devices, resumed after a kill as if nothing had happened."""

from __future__ import annotations

import contextlib
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from reid_core.data.samplers import mix
from reid_core.progress import Progress
from reid_core.training.checkpoints import load_checkpoint, read_checkpoint, write_checkpoint
from reid_core.training.config import TrainConfig
from reid_core.training.optimisers import parameter_groups
from reid_core.training.schedules import cosine, schedule

LAST = "last.ckpt"
FINAL = "final.pt"
UNREADABLE = "unreadable.txt"

__all__ = ["TrainConfig", "cosine", "fit", "parameter_groups", "schedule"]


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

    A training that was killed and resumed on the CPU ends with the same bits as one that was not, as long as
    all chance comes from torch (reseeded at every batch from seed, batch and rank), from `batches` and from
    the items' own seeds. A finished training returns at once. In each case the objective holds the final
    weights afterwards. With several machines `folder` must be on storage that they share.

    Args:
        objective: module with `forward(batch) -> dict` of scalar losses and metrics, "loss" among them.
            Optional: `after_step(step)`, called without gradients after each optimiser step with its number,
            from 0; `parameter_groups()`, see `parameter_groups`.
        dataset: map-style dataset, indexed by what `batches` yields.
        batches: sized iterable of one training's batches for this rank, whose attribute `start` says with
            which batch iteration begins; at least `config.steps * config.accumulate` batches.
        collate: makes a batch dict of a list of items; None for torch's default. An entry "unreadable" (list
            of paths) is taken out, warned about and listed in folder/unreadable.txt.
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
        ...
        ...     def __iter__(self):
        ...         return iter(self[self.start :])
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
            f"batches has {len(batches)}, but steps={config.steps} with accumulate={config.accumulate} "
            f"need {config.steps * config.accumulate}; build the sampler with "
            "steps=config.steps * config.accumulate"
        )
    final, last = folder / FINAL, folder / LAST
    if final.exists() and read_checkpoint(final, mmap=True)["step"] == config.steps:
        load_checkpoint(final, objective, config.steps)
        return final
    state = load_checkpoint(last, objective, config.steps) if last.exists() else None
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
            precision=_precision(config.precision, on_gpu),  # type: ignore[arg-type]
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


def _precision(precision: str, on_gpu: bool) -> str:
    """Lightning's precision for "auto": bfloat16 where the device multiplies its matrices in hardware."""
    if precision != "auto":
        return precision
    if on_gpu:
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    # torch before 2.10 can't tell
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return "bf16-mixed" if capabilities.get("amx_bf16") else "32-true"


class _Module(pl.LightningModule):
    """Steps an objective; step count, seeds, metrics and checkpoints are kept here, not by Lightning.

    Lightning would count the batches of a resumed epoch from the loader's beginning; here a resumed training
    is one Lightning epoch over the batches that are left.
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
        self.unreadable.add(batch.pop("unreadable", []))
        losses = self.objective(batch)
        if "loss" not in losses:
            raise ValueError(
                f'{type(self.objective).__name__} returned {sorted(losses)}; expected "loss" among them'
            )
        if not torch.isfinite(losses["loss"]):
            scalars = {name: torch.as_tensor(value).detach() for name, value in losses.items()}
            values = ", ".join(f"{name}={float(v):g}" for name, v in scalars.items() if v.numel() == 1)
            raise FloatingPointError(
                f"the loss is not finite at step {self.step}: {values}; lower lr, set clip_grad, use "
                f"precision=32-true, or look at the data; {self.folder / LAST} holds the last checkpoint"
            )
        self.means.add(losses, _count_images(batch) * self.trainer.world_size)
        return losses["loss"]

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
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
                write_checkpoint(state, self.folder / FINAL)
            precision = self.trainer.precision_plugin.state_dict()
            write_checkpoint(state | {"optimizer": optimizer, "precision": precision}, self.folder / LAST)
        strategy.barrier("checkpoint")


class _Means:
    """Means of scalars, and images a second, since the last look; added up without waiting for the device."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.values = self.total = torch.zeros(0)
        self.batches = self.images = 0
        self.began = time.monotonic()

    def add(self, losses: Mapping[str, Tensor], images: int) -> None:
        device = losses["loss"].device
        scalars = {name: torch.as_tensor(value, device=device).detach() for name, value in losses.items()}
        names = [name for name, value in scalars.items() if value.numel() == 1]
        values = torch.stack([scalars[name].float().reshape(()) for name in names])
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
        self.paths: set[str] = set()
        self._read()

    def _read(self) -> None:
        if self.file.exists():
            self.paths |= set(self.file.read_text().splitlines())

    def add(self, paths: list[str]) -> None:
        for path in dict.fromkeys(paths):
            if path in self.paths:
                continue
            self._read()  # another rank may have met it
            if path in self.paths:
                continue
            # Appending, not renaming: several ranks may write.
            with self.file.open("a") as lines:
                lines.write(f"{path}\n")
            self.paths.add(path)
            warnings.warn(f"cannot read {path}; another image takes its place ({self.file})", stacklevel=2)


def _count_images(batch: Mapping[str, Any]) -> int:
    """Images of a batch: those in "image" and all frames in "clip", else the items of the first tensor."""
    known = [batch["image"].shape[0]] if torch.is_tensor(batch.get("image")) else []
    if torch.is_tensor(batch.get("clip")):
        known.append(math.prod(batch["clip"].shape[:2]))
    tensors = (len(value) for value in batch.values() if torch.is_tensor(value) and value.ndim)
    return sum(known) if known else next(tensors, 0)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's notes on devices and products; its errors and others' warnings still come."""
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
