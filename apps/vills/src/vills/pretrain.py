"""The pretrain stage: images, videos and their regions -> the teacher's encoder and resampler."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from reid_core.data.samplers import RandomBatches, mix
from reid_core.processes import ranks
from reid_core.training.config import TrainConfig
from reid_core.training.loop import fit
from reid_core.training.protocols import Logger
from reid_pretrain import VILLS
from vills.config import Config, train_config
from vills.data import Grids, Pool, VillsDataset, ZippedBatches, collate, load_pool
from vills.model import TEACHER_FILE, build_model, load_teacher, save_teacher
from vills.regions import load_masks


def pretrain(
    config: Config, prepared: Path, regions: Path, folder: Path, logger: Logger | None = None
) -> dict[str, Any]:
    """Train VILLS' objective and keep the teacher.

    Args:
        config: the whole configuration.
        prepared: folder of the prepare stage.
        regions: folder of the lse stage.
        folder: the stage's folder; gets teacher.pt and the training's own files.
        logger: gets the metrics; None logs nothing.

    Returns:
        Numbers of images, videos, steps, and of unreadable files.

    Raises:
        CheckpointError: pretrain.checkpoint is of another architecture.
    """
    settings = config.pretrain
    pool = load_pool(config, prepared)
    batches, schedule = make_batches(config, pool)
    objective = build_objective(config, schedule)
    encoder = objective.student.model.encoder
    dataset = VillsDataset(
        pool,
        load_masks(regions),
        len(config.lse.areas),
        settings,
        Grids(encoder.grid(settings.image_size), encoder.grid(settings.frame_size)),
    )
    fit(objective, dataset, batches, collate, schedule, folder, config.seed, logger)
    save_teacher(
        objective.teacher.model,
        config.model,
        settings.image_size,
        settings.frames,
        folder / TEACHER_FILE,
    )
    unreadable = folder / "unreadable.txt"
    return {
        "images": len(pool.images),
        "videos": len(pool.videos),
        "steps": schedule.steps,
        "unreadable": len(unreadable.read_text().splitlines()) if unreadable.exists() else 0,
    }


def build_objective(config: Config, schedule: TrainConfig) -> VILLS:
    """VILLS' objective with freshly drawn weights, or those of pretrain.checkpoint.

    Args:
        config: the whole configuration.
        schedule: the training's length.

    Returns:
        The objective.
    """
    settings = config.pretrain
    torch.manual_seed(config.seed)
    model = build_model(config.model, settings.image_size, settings.frames)
    if settings.checkpoint is not None:
        load_teacher(settings.checkpoint, model)
    return VILLS(model, _frozen(config, schedule), schedule.steps)


def _frozen(config: Config, schedule: TrainConfig) -> Any:
    """The objective's settings, with the frozen epochs turned into steps."""
    train = config.pretrain.train
    share = config.pretrain.freeze_prototypes_epochs / train.epochs if train.epochs else 0.0
    steps = min(schedule.steps, round(share * schedule.steps))
    return dataclasses.replace(config.pretrain.objective, freeze_prototypes_steps=steps)


def make_batches(config: Config, pool: Pool) -> tuple[ZippedBatches, TrainConfig]:
    """Batches of images beside batches of videos; an epoch is one pass over the images (else the videos).

    Args:
        config: the whole configuration.
        pool: what is pre-trained on.

    Returns:
        The sampler of this rank, and the training's settings.

    Raises:
        ValueError: no batch is left of either kind.
    """
    settings = config.pretrain
    sizes = {
        "images": (len(pool.images), settings.image_batch),
        "videos": (len(pool.videos), settings.video_batch),
    }
    used = {kind: pair for kind, pair in sizes.items() if pair[0] and pair[1]}
    if not used:
        raise ValueError(
            f"nothing to pre-train on: {len(pool.images)} images with pretrain.image_batch="
            f"{settings.image_batch}, {len(pool.videos)} videos with video_batch={settings.video_batch}"
        )
    rows, size = used.get("images", used.get("videos", (1, 1)))
    schedule = train_config(settings.train, config.machine, -(-rows // size))
    rank, world = ranks(config.machine)
    samplers: dict[str, RandomBatches] = {
        kind: RandomBatches(
            count, batch, schedule.steps * schedule.accumulate, mix(config.seed, number), rank, world
        )
        for number, (kind, (count, batch)) in enumerate(used.items(), start=1)
    }
    both = ZippedBatches(samplers.get("images"), samplers.get("videos"), first_video=len(pool.images))
    return both, schedule
