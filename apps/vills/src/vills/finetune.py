"""The finetune stage: the teacher's encoder and resampler, with a ReID head, on labelled images and clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from reid_core.data.datasets import ImageDataset, TrackletDataset
from reid_core.data.datasets import collate as stack
from reid_core.data.manifest import Manifest
from reid_core.data.samplers import Batches, Draw, PKBatches, mix, permutation
from reid_core.data.transforms import train_transform
from reid_core.models.heads import ReIDModel, ReIDObjective
from reid_core.processes import ranks
from reid_core.training.loop import fit
from reid_core.training.protocols import Logger
from vills.config import Config, FinetuneConfig, Size, train_config
from vills.model import Descriptor, build_model, load_teacher
from vills.prepare import manifest_file

MODEL_FILE = "final.pt"


class FineTuning(ReIDObjective):
    """ReIDObjective with a learning rate of its own for the extractor.

    Args:
        model: the extractor with its BNNeck.
        pids: person ids of the training set.
        encoder_lr_scale: the extractor's learning rate as a factor of the head's.
        options: of ReIDObjective.
    """

    def __init__(
        self, model: ReIDModel, pids: Sequence[int], encoder_lr_scale: float = 1.0, **options: Any
    ) -> None:
        super().__init__(model, pids, **options)
        self.encoder_lr_scale = encoder_lr_scale

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


class Labelled(Dataset[dict[str, Any]]):
    """Images first, then clips, with pids that mean one person throughout.

    Args:
        images: labelled images, or None.
        clips: labelled clips, or None.
        shift: added to the clips' pids where they name other people than the images'.
    """

    def __init__(self, images: ImageDataset | None, clips: TrackletDataset | None, shift: int) -> None:
        self.images, self.clips, self.shift = images, clips, shift
        self.first_clip = len(images) if images is not None else 0

    def __len__(self) -> int:
        return self.first_clip + (len(self.clips) if self.clips is not None else 0)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        if draw.index < self.first_clip:
            assert self.images is not None
            item = self.images[draw]
            return {key: item[key] for key in ("image", "pid", "unreadable")}
        assert self.clips is not None
        item = self.clips[Draw(draw.index - self.first_clip, draw.seed)]
        pid = item["pid"] + self.shift
        return {"clip": item["clip"], "clip_pid": pid, "unreadable": item["unreadable"]}


class JointBatches(Batches):
    """P identities a batch, each with so many images and so many clips; a pure function of the step.

    Identities are drawn, without repetition in an epoch, from those that have what is asked for. Where images
    and clips show different people, each kind draws its own P identities.

    Args:
        image_pids: pid of each image, int64 [n].
        clip_pids: pid of each clip, int64 [m]; clips are numbered behind the images.
        identities: P, over all ranks.
        image_instances: images an identity, 0 for none.
        clip_instances: clips an identity, 0 for none.
        same_people: whether a pid means the same person in both.
        steps: batches in all.
        seed: of everything that is drawn.
        rank: of this process.
        world_size: number of processes.

    Raises:
        ValueError: fewer than P identities have what is asked for.

    Example:
        >>> pids = np.array([1, 1, 2, 2])
        >>> batches = JointBatches(pids, pids, 2, 2, 1, True, steps=1)
        >>> sum(draw.index < 4 for draw in batches.batch(0)), len(batches.batch(0))
        (4, 6)
    """

    def __init__(
        self,
        image_pids: np.ndarray,
        clip_pids: np.ndarray,
        identities: int,
        image_instances: int,
        clip_instances: int,
        same_people: bool,
        steps: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(steps)
        self.seed = seed
        self.first_clip, self.clip_instances = len(image_pids), clip_instances
        self.image_pids = image_pids
        self.joint = bool(same_people and image_instances and clip_instances)
        layout = (identities, image_instances, steps, mix(seed, 1), rank, world_size)
        if self.joint:
            both = np.intersect1d(image_pids, clip_pids)
            image_pids = np.where(np.isin(image_pids, both), image_pids, -1)
            self.clips_of = {int(pid): np.flatnonzero(clip_pids == pid) for pid in both if pid >= 0}
        self.images = PKBatches(image_pids, *layout) if image_instances else None
        self.clips = None
        if clip_instances and not self.joint:
            self.clips = PKBatches(
                clip_pids, identities, clip_instances, steps, mix(seed, 2), rank, world_size
            )
        if self.images is None and self.clips is None:
            raise ValueError("image_instances and clip_instances are both 0: one of them must be positive")
        self.first = rank * (identities // world_size)

    def batch(self, step: int) -> list[Draw]:
        """This rank's draws of a step: images, then clips.

        Args:
            step: number of the batch.

        Returns:
            Draws into a `Labelled` data set.
        """
        images = self.images.batch(step) if self.images is not None else []
        if not self.joint:
            clips = self.clips.batch(step) if self.clips is not None else []
            return images + [Draw(self.first_clip + clip.index, clip.seed) for clip in clips]
        assert self.images is not None
        people = [int(self.image_pids[draw.index]) for draw in images[:: self.images.instances]]
        draws = []
        for place, pid in enumerate(people):
            clips_of = self.clips_of[pid]
            key = (self.seed, 3, step, self.first + place)
            order = permutation(len(clips_of), *key)
            for turn in range(self.clip_instances):
                clip = int(clips_of[int(order[turn % len(order)])])
                draws.append(Draw(self.first_clip + clip, mix(*key, turn)))
        return images + draws


def collate(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Batch for `reid_core.models.heads.ReIDObjective` of any mixture of images and clips.

    Args:
        items: items of a `Labelled` data set.

    Returns:
        image [b 3 h w] with pid [b], clip [c t 3 h w] with clip_pid [c], each where there are some;
        unreadable, a list.
    """
    batch: dict[str, Any] = {"unreadable": [path for item in items for path in item["unreadable"]]}
    for kind in ("image", "clip"):
        chosen = [{k: v for k, v in item.items() if k != "unreadable"} for item in items if kind in item]
        if chosen:
            batch |= stack(chosen)
    return batch


def finetune(
    config: Config,
    init: str,
    prepared: Path,
    teacher: Path | None,
    folder: Path,
    logger: Logger | None = None,
) -> dict[str, Any]:
    """Train encoder, resampler and a ReID head on labelled images and clips (VILLS supplement 1).

    Args:
        config: the whole configuration.
        init: "pretrained", or "scratch" for the same budget without the teacher.
        prepared: folder of the prepare stage.
        teacher: the teacher's file; not read for "scratch".
        folder: the stage's folder; gets final.pt, the weights of the objective.
        logger: gets the metrics; None logs nothing.

    Returns:
        Numbers of identities, images, clips and steps.

    Raises:
        CheckpointError: the teacher is of another architecture.
    """
    tune = config.finetune
    data = labelled(config, prepared)
    image_pids = data.images.manifest.pids if data.images is not None else np.empty(0, dtype=np.int64)
    clip_pids = data.clips.pids + data.shift if data.clips is not None else np.empty(0, dtype=np.int64)
    layout = (tune.identities, tune.image_instances, tune.clip_instances, config.data.same_people)
    pids = np.unique(np.concatenate([image_pids, clip_pids]))
    rows, instances = (len(image_pids), layout[1]) if len(image_pids) else (len(clip_pids), layout[2])
    steps_per_epoch = -(-rows // (tune.identities * instances))
    schedule = train_config(tune.train, config.machine, steps_per_epoch)
    batches = JointBatches(
        image_pids,
        clip_pids,
        *layout,
        schedule.steps * schedule.accumulate,
        config.seed,
        *ranks(config.machine),
    )
    objective = build_finetuning(config, init, teacher, pids.tolist())
    fit(objective, data, batches, collate, schedule, folder, config.seed, logger)
    return {
        "identities": len(pids),
        "images": len(image_pids),
        "clips": len(clip_pids),
        "steps": schedule.steps,
    }


def build_finetuning(config: Config, init: str, teacher: Path | None, pids: Sequence[int]) -> FineTuning:
    """The fine-tuning objective, from the teacher or from scratch; the head is the same draw in both.

    Args:
        config: the whole configuration.
        init: "pretrained" or "scratch".
        teacher: the teacher's file, for "pretrained".
        pids: person ids of the training set.

    Returns:
        The objective.

    Raises:
        CheckpointError: the teacher is of another architecture.
        ValueError: "pretrained" without a file.
    """
    tune = config.finetune
    torch.manual_seed(config.seed)
    model = build_model(config.model, config.pretrain.image_size, config.pretrain.frames)
    reid = ReIDModel(Descriptor(model), model.dim, len(pids))
    if init == "pretrained":
        if teacher is None:
            raise ValueError("fine-tuning a pre-trained model needs a teacher's file, and none was given")
        load_teacher(teacher, model)
    return FineTuning(
        reid,
        pids,
        tune.encoder_lr_scale,
        label_smoothing=tune.label_smoothing,
        margin=tune.margin,
        normalize=tune.normalize,
    )


def labelled(config: Config, prepared: Path) -> Labelled:
    """The training split of images and videos as one data set.

    Args:
        config: the whole configuration.
        prepared: folder of the prepare stage.

    Returns:
        The data set; clips' pids are shifted where they name other people.
    """
    tune, data = config.finetune, config.data
    images = clips = None
    if data.image is not None and tune.image_instances:
        transform = _augment(tune, sizes(config)[0])
        images = ImageDataset(training_rows(manifest_file(prepared, "data.image")), transform)
    if data.video is not None and tune.clip_instances:
        transform = _augment(tune, sizes(config)[1])
        manifest = training_rows(manifest_file(prepared, "data.video"))
        frames = tune.frames or config.pretrain.frames
        clips = TrackletDataset(manifest, transform, frames, "sparse")
    shift = 0
    if images is not None and clips is not None and not data.same_people:
        shift = int(images.manifest.pids.max()) + 1
    return Labelled(images, clips, shift)


def training_rows(path: Path) -> Manifest:
    """Labelled rows of the train split.

    Args:
        path: a manifest's file.

    Returns:
        The rows with a pid.
    """
    manifest = Manifest.load(path).select("train")
    return manifest.where(manifest.pids >= 0)


def sizes(config: Config) -> tuple[Size, Size]:
    """Sizes of images and of frames in fine-tuning and evaluation.

    Args:
        config: the whole configuration.

    Returns:
        (image size, frame size), those of pre-training where fine-tuning names none.

    Example:
        >>> sizes(Config())
        ((256, 128), (64, 44))
    """
    tune, before = config.finetune, config.pretrain
    return tune.image_size or before.image_size, tune.frame_size or before.frame_size


def _augment(tune: FinetuneConfig, size: Size) -> Any:
    return train_transform(size, padding=tune.padding, erasing=tune.erasing, jitter=tune.jitter)
