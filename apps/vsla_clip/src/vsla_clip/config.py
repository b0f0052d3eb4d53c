"""Everything that `vsla-clip` can be told, typed; `vsla-clip run --help` prints it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import Any

from reid_adapters import LoRAConfig, LossConfig, PBPConfig, VSLAConfig
from reid_core.training.config import TrainConfig
from vsla_clip.methods import TABLE_3

Size = tuple[int, int]


@dataclass
class Synthetic:
    """A synthetic world that `prepare` writes in MARS's layout, in place of a root."""

    world: dict[str, Any] = field(default_factory=dict)
    """Dials of reid_core.synthetic.World: identities, cameras, aerial_cameras, seed, height, width, ..."""
    layout: dict[str, Any] = field(default_factory=dict)
    """Options of reid_core.synthetic.write_mars: train_identities, tracklets_per_camera, frames, ..."""


@dataclass
class DataConfig:
    """Tracklets of a data set on disk, or of a synthetic world."""

    name: str = "g2a_vreid"
    """Reader of a data set with tracklets: g2a_vreid, mars, ls_vid, ilids_vid, pku_reid, ..."""
    root: str = ""
    """Folder of the data set as released."""
    options: dict[str, Any] = field(default_factory=dict)
    """The reader's own options, such as split of ilids_vid."""
    synthetic: Synthetic | None = None
    """Write this world and read it."""
    size: Size = (256, 128)
    """Height and width of a frame (5.2)."""
    frames: int = 8
    """T, frames of a clip, one of each equal part of the tracklet (5.2). Their order changes nothing."""
    padding: int = 10
    """Zeros around a frame before it is cropped (5.2)."""
    erasing: float = 0.5
    """Probability of random erasing (5.2 names no number; CLIP-ReID: 0.5)."""


@dataclass
class Training:
    """One training's length and optimiser. An epoch has as many batches as one pass over its pool takes."""

    epochs: float = 120.0
    """Passes over the pool (the paper names none; CLIP-ReID: 120)."""
    lr: float = 1e-4
    """Learning rate after the warm-up."""
    warmup_epochs: float = 0.0
    """Linear warm-up."""
    decay_epochs: tuple[float, ...] = ()
    """Epochs at which the rate falls to a tenth; none lets it fall in a cosine."""
    weight_decay: float = 1e-4
    """Of AdamW (CLIP-ReID: 1e-4)."""
    clip_grad: float | None = None
    """Largest norm of the gradient; null does not clip."""
    precision: str = "auto"
    """Lightning's precision; "auto" is bf16-mixed where the hardware multiplies it, else 32-true."""
    checkpoint_every: int = 500
    """Optimiser steps between two checkpoints."""
    log_every: int = 20
    """Optimiser steps between two records of the losses."""


@dataclass
class Captioned:
    """A world of people whose captions say what they wear, to train a small CLIP on (Radford et al.)."""

    world: dict[str, Any] = field(default_factory=dict)
    """Dials of reid_core.synthetic.World; a seed of its own, so that nobody is in the data set too."""
    images: int = 1
    """Images of a person before a camera."""
    batch: int = 128
    """Images a step, each of another person."""
    train: Training = field(default_factory=lambda: Training(epochs=100, lr=1e-3, weight_decay=0.1))
    """Length and optimiser."""


@dataclass
class CLIPConfig:
    """The CLIP to begin with."""

    name: str = "ViT-B-16-quickgelu"
    """Architecture by open_clip's name; the quickgelu one is OpenAI's."""
    small: dict[str, Any] | None = None
    """In place of a name: embed_dim, vision_cfg and text_cfg of open_clip.CLIP. The vision_cfg's image_size
    is data.size."""
    pretrained: str | None = None
    """Weights by open_clip's tag, such as openai."""
    checkpoint: str | None = None
    """File of weights laid over them: ViFi-CLIP's, or any CLIP's state dict of OpenAI's names."""
    captioned: Captioned | None = None
    """Train it from random weights on captioned synthetic people first."""


@dataclass
class Stage1Config:
    """Prompts of identities are learned against the frozen towers (4.2, Eq. 3)."""

    id_tokens: int = 4
    """M, tokens of an identity (CLIP-ReID: 4)."""
    shared_tokens: int = 16
    """n, tokens shared by all, half on either side (released code: 8 and 8)."""
    words: tuple[str, str] = ("", ".")
    """Fixed words before and after the tokens (released code)."""
    batch: int = 64
    """Clips a step (CLIP-ReID: 64)."""
    train: Training = field(default_factory=lambda: Training(lr=3.5e-4, warmup_epochs=5))
    """Length and optimiser (5.2: 3.5e-4)."""


@dataclass
class Stage2Config:
    """The image encoder, or what is attached to it, is trained against the prompts' features (Eq. 10)."""

    identities: int = 8
    """P, identities a batch (5.2)."""
    instances: int = 4
    """K, clips of each (5.2: 32 clips of 8 identities)."""
    losses: LossConfig = field(default_factory=LossConfig)
    """Weights of the losses (5.2)."""
    train: Training = field(default_factory=lambda: Training(decay_epochs=(60, 90)))
    """Length and optimiser (5.2: 1e-4 for adapters, a tenth at 60 and 90)."""
    full_lr: float = 5e-6
    """Learning rate in place of the training's own where the whole image encoder is trained (5.2)."""


@dataclass
class EvaluateConfig:
    """Retrieval of tracklets."""

    protocol: str = "g2a_vreid"
    """Gallery rows that count, by data set (reid_eval.PROTOCOLS): mars and ls_vid leave out the query's
    person in its own camera, g2a_vreid the query's platform, pku_reid its camera, ilids_vid nothing."""
    frames: int | None = None
    """Frames of a clip, spread evenly over its tracklet; null as in training."""
    batch_size: int = 32
    """Clips at a time."""


@dataclass
class MachineConfig:
    """What the work runs on, one device; nothing here starts finished work anew."""

    accelerator: str = "auto"
    """Lightning's accelerator: auto, cpu, gpu."""
    workers: int = 0
    """Processes that load data."""
    threads: int | None = None
    """Threads of torch; null for its own choice. The same number gives the same bits."""


@dataclass
class Config:
    """A whole run."""

    experiment: str = "vsla_clip"
    """MLflow experiment, and folder below runs."""
    name: str = "run"
    """Name of the run, and folder below the experiment."""
    runs: str = "runs"
    """Folder of all runs."""
    tracking_uri: str | None = None
    """MLflow store; null for MLFLOW_TRACKING_URI, else mlflow.db in the folder of all runs."""
    seed: int = 0
    """Seed of weights, batches and augmentation."""
    method: str = "vsla_clip"
    """What `run` trains: frozen, baseline, ft_clip, ifa, ifa_vsa, vsla_clip, vsla_clip_pbp or lora."""
    rows: list[str] = field(default_factory=lambda: list(TABLE_3))
    """What `ablate` trains, Table 3's rows by default."""
    data: DataConfig = field(default_factory=DataConfig)
    clip: CLIPConfig = field(default_factory=CLIPConfig)
    adapters: VSLAConfig = field(default_factory=VSLAConfig)
    pbp: PBPConfig = field(default_factory=lambda: PBPConfig(("ground", "aerial")))
    lora: LoRAConfig = field(default_factory=LoRAConfig)
    stage1: Stage1Config = field(default_factory=Stage1Config)
    stage2: Stage2Config = field(default_factory=Stage2Config)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)

    @property
    def folder(self) -> Path:
        """The run folder, runs/EXPERIMENT/NAME."""
        return Path(self.runs) / self.experiment / self.name


def train_config(train: Training, machine: MachineConfig, steps_per_epoch: int) -> TrainConfig:
    """The training loop's settings, with epochs turned into optimiser steps.

    Args:
        train: a training's settings.
        machine: what it runs on.
        steps_per_epoch: batches of one pass over the pool.

    Returns:
        Settings for `reid_core.training.loop.fit`.

    Example:
        >>> train_config(Training(decay_epochs=(60, 90)), MachineConfig(), steps_per_epoch=10).milestones
        (600, 900)
    """
    steps = max(1, ceil(train.epochs * steps_per_epoch))
    return TrainConfig(
        steps=steps,
        lr=train.lr,
        min_lr=train.lr / 100,
        milestones=tuple(max(1, round(epoch * steps_per_epoch)) for epoch in train.decay_epochs),
        warmup_steps=min(round(train.warmup_epochs * steps_per_epoch), steps // 2),
        weight_decay=train.weight_decay,
        clip_grad=train.clip_grad,
        precision=train.precision,
        accelerator=machine.accelerator,
        checkpoint_every=train.checkpoint_every,
        log_every=train.log_every,
        workers=machine.workers,
    )


def decisive(train: Training) -> Training:
    """A training's settings without those that don't change its result, for fingerprints.

    Example:
        >>> decisive(Training(log_every=1)) == decisive(Training(log_every=9))
        True
    """
    return replace(train, checkpoint_every=Training.checkpoint_every, log_every=Training.log_every)
