"""The pretrain stage: images of identities -> a backbone, by identity-guided self-distillation or DINO."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from timm.layers import convert_sync_batchnorm
from torch import nn

from cion.pipeline.config import RunConfig, pretraining_schedule
from reid_core.data.datasets import ImageDataset, seeded
from reid_core.data.manifest import Manifest
from reid_core.data.samplers import CurriculumBatches
from reid_core.data.transforms import MultiCrop
from reid_core.models.backbones import build_backbone
from reid_core.processes import ranks
from reid_core.training.loop import fit
from reid_core.training.protocols import Logger
from reid_pretrain import CION, index_people, prototype_memory

BACKBONE_FILE = "backbone.safetensors"
GLOBAL_VIEWS = 2


def pretrain(
    config: RunConfig, images: Manifest, guided: bool, folder: Path, logger: Logger | None = None
) -> dict[str, Any]:
    """Train CION's objective and keep the teacher's backbone.

    Args:
        config: the whole configuration.
        images: those with an identity, which is their pid.
        guided: False takes each image for a person of its own, N_id = 1: DINO.
        folder: the stage's folder; gets backbone.safetensors and the training's own files.
        logger: gets the metrics; None logs nothing.

    Returns:
        Numbers of images, identities, steps, and of identities with fewer images than the largest N_id, which
        come again then.

    Raises:
        ValueError: fewer identities than a batch needs, or more prototypes than memory holds.
    """
    settings = config.pretrain
    _check_memory(config)
    if not guided:
        images = Manifest(images.table.assign(pid=np.arange(len(images))), images.root, images.name)
    curriculum = settings.curriculum if guided else {0: 1}
    batches = CurriculumBatches(
        images.pids, settings.batch, settings.epochs, curriculum, config.seed, *ranks(config.machine)
    )
    schedule = pretraining_schedule(settings, batches.steps_per_epoch, config.machine)
    counts = np.unique(images.pids, return_counts=True)[1]
    few = int((counts < max(curriculum.values())).sum())
    if few:
        print(
            f"{few} of {len(counts)} identities have fewer than {max(curriculum.values())} images: "
            "theirs are taken more than once in a batch"
        )
    objective = build_objective(config, schedule.steps, batches.steps_per_epoch)
    views = MultiCrop(
        config.model.image_size,
        settings.local_size,
        settings.local_views,
        settings.global_scale,
        settings.local_scale,
        jitter=settings.jitter,
        grey=settings.grey,
    )
    fit(objective, ImageDataset(images, views), batches, collate, schedule, folder, config.seed, logger)
    trunk: Any = objective.teacher.backbone
    save_backbone(trunk.trunk, folder / BACKBONE_FILE)
    return {"images": len(images), "identities": len(counts), "steps": schedule.steps, "with_few_images": few}


def build_objective(config: RunConfig, steps: int, steps_per_epoch: int) -> CION:
    """CION's objective with freshly drawn weights, a function of the seed.

    Batch norms are synchronised over the processes; torch can do that on accelerators alone, so several CPUs
    each normalise by their own part of the batch.

    Args:
        config: the whole configuration.
        steps: of the whole training.
        steps_per_epoch: of an epoch.

    Returns:
        The objective.

    Example:
        >>> from cion.pipeline.config import Network
        >>> config = RunConfig(model=Network("vit_nano_patch8", {"depth": 1}, (32, 16)))
        >>> config.pretrain.objective = dataclasses.replace(config.pretrain.objective, prototypes=64)
        >>> build_objective(config, 10, 2).config.freeze_prototypes_steps
        2
    """
    settings, network = config.pretrain, config.model
    frozen = min(steps, round(settings.freeze_prototypes_epochs * steps_per_epoch))
    with seeded(config.seed):
        backbone = build_backbone(
            network.backbone, network.image_size, drop_path=settings.drop_path, **network.options
        )
        chosen = dataclasses.replace(settings.objective, freeze_prototypes_steps=frozen)
        objective: nn.Module = CION(backbone, chosen, steps)
    if ranks(config.machine)[1] > 1 and config.machine.accelerator != "cpu" and torch.cuda.is_available():
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


def save_backbone(trunk: nn.Module, path: Path) -> None:
    """Write a backbone's weights as safetensors, for `reid_core.models.weights.load_weights`, atomically.

    Args:
        trunk: the library's module, an encoder's `trunk`.
        path: file to write.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # each rank writes the same
    weights = {name: value.detach().cpu().clone() for name, value in trunk.state_dict().items()}
    save_file(weights, temporary)
    temporary.replace(path)


def _check_memory(config: RunConfig) -> None:
    settings = config.pretrain
    images = settings.batch // ranks(config.machine)[1]
    needed = prototype_memory(settings.objective, images, GLOBAL_VIEWS, settings.local_views)
    free = free_memory(config.machine.accelerator)
    if needed > free:
        raise ValueError(
            f"pretrain.objective.prototypes={settings.objective.prototypes} with {images} images of "
            f"{GLOBAL_VIEWS + settings.local_views} views on a device takes about {needed / 2**30:.1f} GiB "
            f"beside the backbone, of {free / 2**30:.1f} GiB free; lower prototypes, pretrain.batch or "
            "pretrain.local_views"
        )


def free_memory(accelerator: str) -> float:
    """Bytes that are free on the device that a training will run on; infinite where that can't be told.

    Args:
        accelerator: Lightning's name.

    Example:
        >>> free_memory("cpu") > 0
        True
    """
    if accelerator != "cpu" and torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[0])
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return float("inf")
    line = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable"))
    return 1024.0 * int(line.split()[1])
