"""The pretrain stage: images of identities -> a backbone, by identity-guided self-distillation or DINO."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.layers import convert_sync_batchnorm
from torch import nn

from cion.config import Network
from cion.networks import save_network
from cion.pretraining.config import GIVEN, VIDEOS, PretrainConfig
from cion.pretraining.stages.denoise import identity_file
from cion.pretraining.stages.identities import sample_identities, with_identities
from cion.pretraining.stages.tracklets import load_videos
from cion.pretraining.variants import DINO, IDENTITIES, RAW
from reid_core.data.datasets import ImageDataset, seed_torch
from reid_core.data.manifest import Manifest
from reid_core.data.samplers import CurriculumBatches
from reid_core.data.transforms import MultiCrop
from reid_core.models.backbones import build_backbone
from reid_core.models.parts import ClassFeature
from reid_core.processes import Runtime, local_device, process_rank, ranks
from reid_core.recipe import Job
from reid_core.training.config import TrainConfig
from reid_core.training.loop import fit
from reid_pretrain import CION, index_people, prototype_memory

GLOBAL_VIEWS = 2
LR_BATCH = 256
"""Batch size that the learning rate of pre-training is for (DINO)."""


@dataclass(frozen=True)
class PreTraining:
    """What the stage gets: what is taken for a person, how many images, how to train, and the backbone."""

    kind: str
    """Of the variant: dino, with each image a person of its own and N_id = 1, raw, identities or a level."""
    pretrain: PretrainConfig
    network: Network
    seed: int
    images: int | None = None


def pretrain(job: Job) -> dict[str, Any]:
    """Train CION's objective and keep the teacher's backbone.

    Args:
        job: its section is a `PreTraining`; its folder gets model/ and the training's own files.

    Returns:
        Numbers of images, identities, steps, of identities with fewer images than the largest N_id, which
        come again then, and minutes of this attempt.

    Raises:
        ValueError: fewer identities than a batch needs, or more prototypes than memory holds.
    """
    started = time.monotonic()
    section: PreTraining = job.section
    settings, folder = section.pretrain, job.folder
    _check_memory(settings, job.runtime)
    images = sample_identities(find_people(job), settings.ratio, section.images, section.seed)
    curriculum = {0: 1} if section.kind == DINO else settings.curriculum
    steps_per_epoch = max(1, len(images) // settings.batch)
    schedule = schedule_pretraining(settings, steps_per_epoch, job.runtime)
    batches = CurriculumBatches(
        images.pids,
        settings.batch,
        ceil(schedule.steps * schedule.accumulate / steps_per_epoch),
        curriculum,
        section.seed,
        *ranks(job.runtime),
        draw=settings.draw,
    )
    counts = np.unique(images.pids, return_counts=True)[1]
    few = int((counts < max(curriculum.values())).sum())
    objective = build_objective(section, schedule.steps, steps_per_epoch, job.runtime)
    dataset = ImageDataset(images, _build_views(section))
    fit(objective, dataset, batches, collate, schedule, folder, section.seed, job.logger, job.digest)
    if process_rank() == 0:
        source = GIVEN if GIVEN in job.roots and "tracklets" not in job.inputs else VIDEOS
        data = [f"{job.title(source)} (unlabeled)"]
        trained: Any = objective.teacher.backbone
        save_network(folder, ClassFeature(trained), section.network, data, job.digest)
    return {
        "images": len(images),
        "identities": len(counts),
        "steps": schedule.steps,
        "with_few_images": few,
        "minutes": round((time.monotonic() - started) / 60, 3),
    }


def _build_views(section: PreTraining) -> MultiCrop:
    settings = section.pretrain
    return MultiCrop(
        section.network.image_size,
        settings.local_size,
        settings.local_views,
        settings.global_scale,
        settings.local_scale,
        jitter=settings.jitter,
        grey=settings.grey,
    )


def find_people(job: Job) -> Manifest:
    """The images to learn from, with what is taken for a person as their pid.

    Args:
        job: of the stage; it reads "tracklets", and "denoise" for a level, or else the given identities.
    """
    kind = job.section.kind
    rows = load_videos(job) if "tracklets" in job.inputs else job.manifest(GIVEN, "train")
    if kind == DINO:
        return with_identities(rows, np.arange(len(rows)))
    if kind in (RAW, IDENTITIES):
        return with_identities(rows, rows.table["tracklet" if kind == RAW else "pid"].to_numpy())
    return with_identities(rows, np.load(identity_file(job.inputs["denoise"], kind)))


def schedule_pretraining(settings: PretrainConfig, steps_per_epoch: int, runtime: Runtime) -> TrainConfig:
    """The training loop's settings, with epochs turned into steps and the rates those of the batch.

    Args:
        settings: of the pre-training.
        steps_per_epoch: batches per epoch.
        runtime: what it runs on.

    Example:
        >>> schedule = schedule_pretraining(PretrainConfig(), 4060, Runtime())
        >>> schedule.steps, schedule.warmup_steps, schedule.lr
        (406000, 40600, 0.001875)
    """
    train = settings.train
    lr = train.lr * settings.batch / LR_BATCH
    low = train.min_lr if train.min_lr is None else min(train.min_lr, lr)
    return replace(train, lr=lr, min_lr=low).resolve(steps_per_epoch, runtime)


def build_objective(section: PreTraining, steps: int, steps_per_epoch: int, runtime: Runtime) -> CION:
    """CION's objective with freshly drawn weights, a function of the seed.

    Batch norms are synchronised over the processes; torch can do that on accelerators alone, so several CPUs
    each normalise by their own part of the batch.

    Args:
        section: what the stage gets.
        steps: of the whole training.
        steps_per_epoch: of an epoch.
        runtime: what it runs on.

    Returns:
        The objective.
    """
    settings, network = section.pretrain, section.network
    frozen = min(steps, round(settings.freeze_prototypes_epochs * steps_per_epoch))
    with seed_torch(section.seed):
        backbone = build_backbone(
            network.backbone, network.image_size, drop_path=settings.drop_path, **network.options
        )
        chosen = replace(settings.objective, freeze_prototypes_steps=frozen)
        objective: nn.Module = CION(backbone, chosen, steps)
    if ranks(runtime)[1] > 1 and runtime.accelerator != "cpu" and torch.cuda.is_available():
        objective = convert_sync_batchnorm(objective)
    assert isinstance(objective, CION)
    return objective


def collate(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Batch for `reid_pretrain.CION`.

    Args:
        items: of an `ImageDataset` with `MultiCrop`.

    Returns:
        global [b 2 3 h w], local [b v 3 h' w'] where there are local views, person [b] and people, the people
        of the batch numbered here, on the host; unreadable, a list.
    """
    person, people = index_people(torch.tensor([item["pid"] for item in items]))
    return {
        **{name: torch.stack([item["image"][name] for item in items]) for name in items[0]["image"]},
        "person": person,
        "people": people,
        "unreadable": [path for item in items for path in item["unreadable"]],
    }


def _check_memory(settings: PretrainConfig, runtime: Runtime) -> None:
    images = settings.batch // ranks(runtime)[1]
    needed = prototype_memory(settings.objective, images, GLOBAL_VIEWS, settings.local_views)
    free = _free_memory(runtime.accelerator)
    if needed > free:
        raise ValueError(
            f"pretrain.objective.prototypes={settings.objective.prototypes} with {images} images of "
            f"{GLOBAL_VIEWS + settings.local_views} views on a device takes about {needed / 2**30:.1f} GiB "
            f"beside the backbone, of {free / 2**30:.1f} GiB free; lower prototypes, pretrain.batch or "
            "pretrain.local_views"
        )


def _free_memory(accelerator: str) -> float:
    """Bytes that are free on the device that a training will run on; infinite where that can't be told."""
    if accelerator != "cpu" and torch.cuda.is_available():
        return float(torch.cuda.mem_get_info(local_device(accelerator))[0])  # each rank's own
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return float("inf")
    line = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable"))
    return 1024.0 * int(line.split()[1])
