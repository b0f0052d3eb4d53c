"""The training loop: any objective, on any devices, resumed after a kill as if nothing had happened."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from reid_core.data.samplers import Draw
from reid_core.progress import Progress
from reid_core.training.batch_norm import BatchNormSync
from reid_core.training.checkpoints import FINAL, LAST, check_digest, load_checkpoint, read_checkpoint
from reid_core.training.config import TrainConfig
from reid_core.training.interrupts import Interrupts
from reid_core.training.module import TrainingModule
from reid_core.training.optimisers import parameter_groups
from reid_core.training.protocols import BatchSampler, Logger, Objective
from reid_core.training.schedules import cosine, schedule

SHARDED = ("fsdp", "deepspeed")
"""Strategies in whose name this stands spread each parameter over the devices."""

__all__ = ["FINAL", "LAST", "TrainConfig", "cosine", "fit", "parameter_groups", "schedule"]


def fit(
    objective: Objective,
    dataset: Any,
    batches: BatchSampler,
    collate: Callable[[list[Any]], dict[str, Any]] | None,
    config: TrainConfig,
    folder: str | Path,
    seed: int = 0,
    logger: Logger | None = None,
    digest: str = "",
) -> Path:
    """Train an objective; called again after a kill, resume from the last checkpoint.

    A training that was killed and resumed on the CPU ends with the same bits as one that was not, as long as
    all chance comes from torch (reseeded at every batch from seed, batch and rank), from `batches` and from
    the items' own seeds. A finished training returns at once. In each case the objective holds the final
    weights afterwards. With several machines `folder` must be on storage that they share.

    With several ranks, batch norms see the batch of all of them, and stay synchronised layers: in evaluation
    these are plain ones.

    Nothing is read from the device between two records of the metrics, except for a loss shown as progress
    and by precision=16-mixed, whose gradient scaler waits at each step. Losses, gradients and weights are
    checked together when metrics are recorded and before each checkpoint, so that no checkpoint holds numbers
    that are not finite; the steps since the last check are then lost, not skipped.

    Args:
        objective: `nn.Module` with `forward(batch) -> dict` of scalar losses and metrics, "loss" among them.
            Optional: `after_step(step)`, called without gradients after each optimiser step with its number,
            from 0; `parameter_groups()`, see `parameter_groups`.
        dataset: map-style dataset, indexed by what `batches` yields.
        batches: one training's batches for this rank, at least `config.steps * config.accumulate`.
        collate: makes a batch dict of a list of items; None for torch's default. An entry "unreadable" (list
            of paths) is taken out, warned about and listed in folder/unreadable.txt; an entry "path" (list of
            the items' files) is named where a loss is not finite.
        config: how to train.
        folder: where last.ckpt, final.pt and unreadable.txt are kept; made if missing.
        seed: seed of dropout, masks and whatever else the objective draws from torch.
        logger: called on rank 0 every `config.log_every` steps with the means of the objective's scalars
            since the last call (rank 0's own), "lr", "weight_decay", "images_per_second" and "unreadable",
            and with precision=16-mixed "skipped_updates", all that its scaler has left out so far; None logs
            nothing.
        digest: of all that the result depends on; kept in last.ckpt and final.pt, and compared with theirs.

    Returns:
        Path of final.pt: `{"state_dict": the objective's, "step": int, "digest": str}`, for
        `torch.load(weights_only=True)`.

    Raises:
        ValueError: too few batches, or a checkpoint in folder that is damaged, does not fit the objective or
            config, or was made under another digest.
        FloatingPointError: a loss, a gradient or a weight is not finite; last.ckpt is the last good one.
        KeyboardInterrupt: SIGINT came; last.ckpt is whole, and final.pt is not written.
        SystemExit: SIGTERM came (status 143), and the program has no handler of its own; likewise.

    Example:
        >>> import tempfile
        >>> from reid_core.data.samplers import RandomBatches
        >>> class Mean(nn.Linear):
        ...     def forward(self, batch):
        ...         return {"loss": super().forward(batch["x"]).square().mean()}
        >>> class Ones:
        ...     def __getitem__(self, draw):
        ...         return {"x": torch.ones(2)}
        >>> config = TrainConfig(steps=2, warmup_steps=0, accelerator="cpu")
        >>> batches = RandomBatches(size=8, batch_size=2, steps=config.steps)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     final = fit(Mean(2, 1), Ones(), batches, None, config, folder)
        ...     torch.load(final, weights_only=True)["step"]
        2
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not isinstance(objective, nn.Module):
        raise TypeError(
            f"objective is a {type(objective).__name__}; expected an nn.Module with forward(batch)"
        )
    _check(batches, config)
    final, last = folder / FINAL, folder / LAST
    if final.exists():
        ended = read_checkpoint(final, mmap=True)
        check_digest(final, ended, digest)
        if ended["step"] == config.steps:
            load_checkpoint(final, objective, config.steps, digest)
            return final
    state = None
    if last.exists():
        state = load_checkpoint(last, objective, config.steps, digest)
        if (name := state.get("optimizer_name", "adamw")) != config.optimizer:
            raise ValueError(
                f"{last} was written with optimizer={name}, not {config.optimizer}; use another folder"
            )
    module = TrainingModule(
        objective, config, folder, seed, digest, logger, lambda number: _items(batches, number), state
    )
    batches.start = module.step * config.accumulate
    on_gpu = config.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    loader: DataLoader[Any] = DataLoader(
        dataset, batch_sampler=batches, collate_fn=collate, num_workers=config.workers, pin_memory=on_gpu
    )
    objective.train()
    if on_gpu and convolutions_overlap(objective):
        objective.to(memory_format=torch.channels_last)
    with _quiet(), Interrupts() as interrupts:
        trainer = pl.Trainer(
            accelerator=config.accelerator,
            devices=config.devices,
            num_nodes=config.num_nodes,
            strategy=config.strategy,
            precision=_precision(config.precision, on_gpu),  # type: ignore[arg-type]
            accumulate_grad_batches=config.accumulate,
            gradient_clip_val=config.clip_grad if config.clip_mode == "global" else None,
            max_epochs=1,
            max_steps=config.steps - module.step,
            callbacks=[interrupts],
            plugins=[BatchNormSync(on_gpu)],
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


def _check(batches: BatchSampler, config: TrainConfig) -> None:
    needed = config.steps * config.accumulate
    if len(batches) < needed:
        raise ValueError(
            f"batches has {len(batches)}, but steps={config.steps} with accumulate={config.accumulate} "
            f"need {needed}; build the sampler with steps=config.steps * config.accumulate"
        )
    sharded = any(name in config.strategy for name in SHARDED)
    if sharded and config.clip_mode == "parameter" and config.clip_grad is not None:
        raise ValueError(
            f"clip_mode=parameter with strategy={config.strategy}: a parameter's gradient is spread over the "
            "devices there, and its norm isn't known on any; use clip_mode=global, or strategy=ddp"
        )


def _items(batches: BatchSampler, number: int) -> list[Any]:
    """What of the data set a batch is made of, for messages."""
    batches.start = number
    return [item.index if isinstance(item, Draw) else item for item in next(iter(batches))]


def convolutions_overlap(objective: nn.Module) -> bool:
    """Whether there are convolutions other than of patches: channels last, a GPU computes them faster."""
    return any(
        isinstance(module, nn.Conv2d) and module.kernel_size > module.stride for module in objective.modules()
    )


def _precision(precision: str, on_gpu: bool) -> str:
    """Lightning's precision for "auto": bfloat16 where the device multiplies its matrices in hardware."""
    if precision != "auto":
        return precision
    if on_gpu:
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    # torch before 2.10 can't tell
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return "bf16-mixed" if capabilities.get("amx_bf16") else "32-true"


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
