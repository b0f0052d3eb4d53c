"""The finetune stage: the teacher's encoder and resampler, with a ReID head, on labelled images and clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reid_core.data.datasets import ImageDataset, TrackletDataset
from reid_core.data.joint import ImagesAndClips, JointBatches, collate_both
from reid_core.data.manifest import Manifest
from reid_core.data.transforms import train_transform
from reid_core.models import Preprocessing, save
from reid_core.models.heads import ReIDModel, ReIDObjective
from reid_core.processes import process_rank, ranks
from reid_core.recipe import Job
from reid_core.recipe.store import record
from reid_core.training.checkpoints import write_checkpoint
from reid_core.training.loop import fit
from vills.config import FinetuneConfig, ModelConfig, Shapes, Size
from vills.model import TEACHER_FILE, Descriptor, build_model, load_teacher

MODEL_FOLDER, KEPT_FOLDER = "model", "epochs"
LICENSE = "unknown"
"""Of the weights: that of the data sets, which the model card names."""


@dataclass(frozen=True)
class FineTuning:
    """What the stage gets.

    Attributes:
        pretrained: whether it begins with a teacher; else from scratch, with the same budget.
        finetune: how.
        model: the encoder and resampler.
        built_for: sizes that the model was pre-trained with.
        shapes: sizes of images and clips here.
        same_people: whether a pid means the same person in images and clips.
        labelled: names of the sources.
        seed: of weights, batches and augmentation.
    """

    pretrained: bool
    finetune: FinetuneConfig
    model: ModelConfig
    built_for: Shapes
    shapes: Shapes
    same_people: bool
    labelled: tuple[str, ...]
    seed: int


class FineTuningObjective(ReIDObjective):
    """ReIDObjective with a learning rate of its own for the extractor.

    Args:
        model: the extractor with its BNNeck.
        pids: person ids of the training set.
        encoder_lr_scale: the extractor's learning rate as a factor of the head's.
        keep: optimiser steps after which the model is kept -> file.
        options: of ReIDObjective.
    """

    model: ReIDModel

    def __init__(
        self,
        model: ReIDModel,
        pids: Sequence[int],
        encoder_lr_scale: float = 1.0,
        keep: Mapping[int, Path] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, pids, **options)
        self.encoder_lr_scale, self.keep = encoder_lr_scale, keep or {}

    def after_step(self, step: int) -> None:
        """Keep the model where that is asked for.

        Args:
            step: number of the optimiser step, from 0.
        """
        if step + 1 in self.keep and process_rank() == 0:
            state = self.model.without_classifier().state_dict()
            write_checkpoint({"state_dict": state, "step": step + 1}, self.keep[step + 1])

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups for the training loop.

        Returns:
            The extractor's parameters and the others, each with its factor.
        """
        extractor = list(self.model.extractor.parameters())
        inside = {id(parameter) for parameter in extractor}
        others = [parameter for parameter in self.parameters() if id(parameter) not in inside]
        return [
            {"params": extractor, "lr_multiplier": self.encoder_lr_scale},
            {"params": others, "lr_multiplier": 1.0},
        ]


def finetune(job: Job) -> dict[str, Any]:
    """Train encoder, resampler and a ReID head on labelled images and clips (VILLS supplement 1).

    Args:
        job: its section is a `FineTuning`; its folder gets model/, the model folder, and final.pt.

    Returns:
        Numbers of identities, images, clips and steps.

    Raises:
        ValueError: the teacher is of another architecture.
    """
    section: FineTuning = job.section
    tune = section.finetune
    data = load_labelled(job)
    image_pids = data.images.manifest.pids if data.images is not None else np.empty(0, dtype=np.int64)
    clip_pids = data.clips.pids + data.shift if data.clips is not None else np.empty(0, dtype=np.int64)
    instances = (
        tune.image_instances if data.images is not None else 0,
        tune.clip_instances if data.clips is not None else 0,
    )
    layout = (tune.identities, *instances, section.same_people)
    pids = np.unique(np.concatenate([image_pids, clip_pids]))
    rows, each = (len(image_pids), instances[0]) if len(image_pids) else (len(clip_pids), instances[1])
    epoch = -(-rows // (tune.identities * each))
    schedule = tune.train.resolve(epoch, job.runtime)
    batches = JointBatches(
        image_pids,
        clip_pids,
        *layout,
        schedule.steps * schedule.accumulate,
        section.seed,
        *ranks(job.runtime),
    )
    objective = build_finetuning(section, pids.tolist())
    if every := tune.evaluate_every:
        numbers = range(every, schedule.steps * schedule.accumulate // epoch + 1, every)
        files = {number: job.folder / KEPT_FOLDER / f"{number:04}.pt" for number in numbers}
        objective.keep = {number * epoch // schedule.accumulate: files[number] for number in numbers}
        (job.folder / KEPT_FOLDER).mkdir(exist_ok=True)
    if section.pretrained:
        descriptor: Any = objective.model.extractor
        load_teacher(job.files.get("teacher") or job.inputs["pretrain"] / TEACHER_FILE, descriptor.model)
    fit(objective, data, batches, collate_both, schedule, job.folder, section.seed, job.logger, job.digest)
    if process_rank() == 0:
        save_model(job, objective.model)
    return {
        "identities": len(pids),
        "images": len(image_pids),
        "clips": len(clip_pids),
        "steps": schedule.steps,
    }


def kept_epochs(folder: Path) -> dict[int, Path]:
    """Files of the models that were kept after some epochs, by epoch.

    Args:
        folder: of the stage.
    """
    return {int(file.stem): file for file in sorted((folder / KEPT_FOLDER).glob("*.pt"))}


def save_model(job: Job, model: ReIDModel) -> None:
    """Write the model folder, for `reid_core.models.load`.

    Args:
        job: its section is a `FineTuning`.
        model: as training left it.
    """
    section: FineTuning = job.section
    before, shapes = section.built_for, section.shapes
    shown = record(job.inputs["pretrain"]) if "pretrain" in job.inputs else None
    pretrained = [f"{name} (unlabeled)" for name in shown["summary"]["sources"]] if shown else []
    save(
        job.folder / MODEL_FOLDER,
        model.without_classifier(),
        "vills",
        {
            "model": section.model,
            "image_size": before.image,
            "frame_size": before.frame,
            "frames": before.frames,
        },
        Preprocessing(shapes.image, frames=shapes.frames, frame_size=shapes.frame),
        training_data=[*pretrained, *map(job.title, section.labelled)],
        license=LICENSE,
        digest=job.digest,
    )


def build_finetuning(section: FineTuning, pids: Sequence[int]) -> FineTuningObjective:
    """The fine-tuning objective with random weights, a function of the seed.

    Args:
        section: what the stage gets.
        pids: person ids of the training set.

    Returns:
        The objective.
    """
    tune = section.finetune
    torch.manual_seed(section.seed)
    model = build_model(section.model, section.built_for)
    reid = ReIDModel(Descriptor(model), model.dim, len(pids))
    return FineTuningObjective(
        reid,
        pids,
        tune.encoder_lr_scale,
        label_smoothing=tune.label_smoothing,
        margin=tune.margin,
        normalize=tune.normalize,
    )


def load_labelled(job: Job) -> ImagesAndClips:
    """The training split of images and clips as one data set.

    Args:
        job: its section is a `FineTuning`.

    Returns:
        The data set; clips' pids are shifted where they name other people.
    """
    section: FineTuning = job.section
    tune, shapes = section.finetune, section.shapes
    images = clips = None
    if "data.image" in section.labelled and tune.image_instances:
        images = ImageDataset(_training_rows(job, "data.image"), _augment(tune, shapes.image))
    if "data.video" in section.labelled and tune.clip_instances:
        rows = _training_rows(job, "data.video")
        clips = TrackletDataset(rows, _augment(tune, shapes.frame), shapes.frames, "sparse")
    shift = 0
    if images is not None and clips is not None and not section.same_people:
        shift = int(images.manifest.pids.max()) + 1
    return ImagesAndClips(images, clips, shift)


def _training_rows(job: Job, source: str) -> Manifest:
    rows = job.manifest(source, "train")
    return rows.where(rows.pids >= 0)


def _augment(tune: FinetuneConfig, size: Size) -> Any:
    return train_transform(size, padding=tune.padding, erasing=tune.erasing, jitter=tune.jitter)
