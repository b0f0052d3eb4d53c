"""The pretrain stage: images, videos and their regions -> the teacher's encoder and resampler."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from reid_core.data.joint import ZippedBatches
from reid_core.data.pool import Pool
from reid_core.data.samplers import RandomBatches, mix
from reid_core.processes import Runtime, process_rank, ranks
from reid_core.recipe import Job
from reid_core.training.config import TrainConfig
from reid_core.training.loop import fit
from reid_pretrain import VILLS
from vills.config import ModelConfig, PretrainConfig, Shapes
from vills.data import Grids, VillsDataset, collate, load_pool
from vills.model import TEACHER_FILE, build_model, load_teacher, save_teacher
from vills.sources import Pooled
from vills.stages.lse import load_masks


@dataclass(frozen=True)
class PreTraining:
    """What the stage gets.

    Attributes:
        pool: what is pre-trained on.
        areas: whose regions the student sees.
        pretrain: how.
        model: the encoder and resampler.
        seed: of weights, batches and augmentation.
    """

    pool: Pooled
    areas: list[str]
    pretrain: PretrainConfig
    model: ModelConfig
    seed: int

    @property
    def shapes(self) -> Shapes:
        """Sizes that the model is built for."""
        return Shapes(self.pretrain.image_size, self.pretrain.frame_size, self.pretrain.frames)


def pretrain(job: Job) -> dict[str, Any]:
    """Train VILLS' objective and keep the teacher.

    Args:
        job: its section is a `PreTraining`; its folder gets teacher.pt and the training's own files.

    Returns:
        Names of the sources, numbers of images, videos, steps, and of unreadable files.

    Raises:
        ValueError: the checkpoint to start from is of another architecture.
    """
    section: PreTraining = job.section
    settings, folder = section.pretrain, job.folder
    pool = load_pool(job, section.pool)
    batches, schedule = make_batches(section, job.runtime, pool)
    objective = build_objective(section, schedule, job.files.get("checkpoint"))
    encoder = objective.student.model.encoder
    dataset = VillsDataset(
        pool,
        load_masks(job, section.pool, pool, section.areas),
        len(section.areas),
        settings,
        Grids(encoder.grid(settings.image_size), encoder.grid(settings.frame_size)),
    )
    fit(objective, dataset, batches, collate, schedule, folder, section.seed, job.logger, job.digest)
    if process_rank() == 0:
        save_teacher(objective.teacher.model, schedule.steps, job.digest, folder / TEACHER_FILE)
    unreadable = folder / "unreadable.txt"
    return {
        "sources": [job.title(one.source) for one in section.pool.parts],
        "images": len(pool.images),
        "videos": len(pool.videos),
        "steps": schedule.steps,
        "unreadable": len(unreadable.read_text().splitlines()) if unreadable.exists() else 0,
    }


def build_objective(section: PreTraining, schedule: TrainConfig, checkpoint: Path | None = None) -> VILLS:
    """VILLS' objective with freshly drawn weights, or those of a checkpoint.

    Args:
        section: what the stage gets.
        schedule: the training's length.
        checkpoint: a teacher.pt to start from.

    Returns:
        The objective.
    """
    settings = section.pretrain
    torch.manual_seed(section.seed)
    model = build_model(section.model, section.shapes)
    if checkpoint is not None:
        load_teacher(checkpoint, model)
    share = settings.freeze_prototypes_epochs / settings.train.epochs if settings.train.epochs else 0.0
    frozen = min(schedule.steps, round(share * schedule.steps))
    return VILLS(
        model, dataclasses.replace(settings.objective, freeze_prototypes_steps=frozen), schedule.steps
    )


def make_batches(section: PreTraining, runtime: Runtime, pool: Pool) -> tuple[ZippedBatches, TrainConfig]:
    """Batches of images beside batches of videos; an epoch is one pass over the images (else the videos).

    Args:
        section: what the stage gets.
        runtime: what it runs on.
        pool: what is pre-trained on.

    Returns:
        The sampler of this rank, and the training's settings.
    """
    settings = section.pretrain
    sizes = {
        "images": (len(pool.images), settings.image_batch),
        "videos": (len(pool.videos), settings.video_batch),
    }
    used = {kind: pair for kind, pair in sizes.items() if pair[0]}
    rows, size = used.get("images", used.get("videos", (1, 1)))
    schedule = settings.train.resolve(-(-rows // size), runtime)
    rank, world = ranks(runtime)
    samplers: dict[str, RandomBatches] = {
        kind: RandomBatches(
            count, batch, schedule.steps * schedule.accumulate, mix(section.seed, number), rank, world
        )
        for number, (kind, (count, batch)) in enumerate(used.items(), start=1)
    }
    both = ZippedBatches(samplers.get("images"), samplers.get("videos"), first_video=len(pool.images))
    return both, schedule
