"""Everything that `vills` can be told, typed; `vills run --help` prints it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import Any, Literal

from reid_core.processes import Machine
from reid_core.training.config import TrainConfig
from reid_pretrain import VILLSConfig

Size = tuple[int, int]


@dataclass
class Source:
    """A data set on disk and the reader that understands it."""

    name: str = ""
    """Reader: market1501, mars, pku_reid or folder."""
    root: str = ""
    """Folder of the data set as released; empty takes data.root."""
    options: dict[str, Any] = field(default_factory=dict)
    """The reader's own options, such as train_fraction and seed of pku_reid."""
    repeat: int = 1
    """Times that pre-training's pool holds it, so that a small data set isn't drowned by a large one."""


@dataclass
class Synthetic:
    """A synthetic world that `prepare` writes out as Market-1501 and MARS, to be read by their readers."""

    layouts: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {"market1501": {}, "mars": {}, "folder": {}}
    )
    """Layouts to write (market1501, mars, folder) with the options of each layout's writer; a folder's
    `identities: [first, end]` may lie beyond the labelled people: passers-by of the same cameras."""
    world: dict[str, Any] = field(default_factory=dict)
    """Dials of reid_core.synthetic.World: identities, cameras, seed, height, width, occlusion, ..."""


@dataclass
class DataConfig:
    """Where images and videos come from."""

    root: str = ""
    """Folder for each source that names none of its own."""
    image: Source | None = None
    """Labelled images: train, query and gallery. None leaves images out."""
    video: Source | None = None
    """Labelled tracklets: train, query and gallery. None leaves videos out."""
    same_people: bool = False
    """Whether a pid means the same person in image and video (one data set, or one world)."""
    pretrain: list[Source] = field(default_factory=list)
    """Further unlabeled sources: single images are pre-trained on as images, sub-folders as videos."""
    pretrain_splits: list[str] = field(default_factory=lambda: ["train"])
    """Splits of image and video that are pre-trained on, without their labels."""
    synthetic: Synthetic | None = None
    """Write a synthetic world first; a source without a root whose name is a written layout reads it."""


@dataclass
class ModelConfig:
    """The shared encoder and the resampler (VILLS Eqs. 6 and 7)."""

    backbone: str = "vit_nano_conv8"
    """A backbone of reid_core.models.backbones, or a timm name."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the backbone's constructor, such as depth."""
    drop_path: float = 0.0
    """Stochastic depth (DINO: 0.1 for the student's ViT)."""
    tokens: int = 4
    """L, the resampler's queries: one for the whole person and one for each of three areas (paper silent)."""
    resampler_depth: int = 1
    """Layers of the resampler ("a small transformer layer", VILLS supplement 2)."""
    resampler_heads: int = 4
    """Attention heads of the resampler (paper silent)."""


@dataclass
class LSEConfig:
    """Local semantic extraction (VILLS Eqs. 1-5); masks are made once and kept."""

    keypoints: str = "prior"
    """Keypoint predictor; the paper's is Keypoint R-CNN."""
    segmenter: str = "grabcut"
    """Interactive segmentation model; the paper's is SAM."""
    areas: list[str] = field(default_factory=lambda: ["head", "torso", "legs"])
    """Areas A of Eq. 5 (the paper's best number is three); at most eight."""
    size: Size = (128, 64)
    """Height and width in pixels that images are segmented at and masks are kept at."""
    workers: int = 2
    """Threads."""
    block: int = 256
    """Images after which progress is put on disk."""


@dataclass
class Training:
    """One training's length and optimiser; lengths are in epochs over the pool and are turned into steps."""

    epochs: float = 100.0
    """Passes over the pool (VILLS supplement 2: 100 for pre-training)."""
    steps: int | None = None
    """Optimiser steps in place of epochs."""
    warmup_epochs: float = 10.0
    """Linear warm-up (DINO: 10)."""
    lr: float = 5e-4
    """Highest learning rate (DINO: 5e-4 for a batch of 256)."""
    min_lr: float = 1e-6
    """Learning rate at the end (DINO: 1e-6)."""
    weight_decay: float = 0.04
    """Weight decay at the start (DINO: 0.04)."""
    weight_decay_end: float | None = 0.4
    """Weight decay at the end (DINO: 0.4); null keeps it constant."""
    clip_grad: float | None = 3.0
    """Largest norm of the gradient (DINO: 3.0); null does not clip."""
    accumulate: int = 1
    """Batches an optimiser step."""
    precision: str = "auto"
    """Lightning's precision; "auto" is bf16-mixed where the hardware multiplies it, else 32-true."""
    checkpoint_every: int = 100
    """Optimiser steps between two checkpoints."""
    log_every: int = 10
    """Optimiser steps between two records of the losses."""


@dataclass
class PretrainConfig:
    """Self-supervised pre-training (VILLS 3.2)."""

    train: Training = field(default_factory=Training)
    """Length and optimiser."""
    image_batch: int = 128
    """Images a step over all ranks (VILLS supplement 2: 128 for ViT-S)."""
    video_batch: int = 32
    """Videos a step over all ranks (VILLS supplement 2: 32 for ViT-S)."""
    image_size: Size = (256, 128)
    """Height and width of an image (VILLS supplement 2)."""
    frame_size: Size = (64, 44)
    """Height and width of a video's frame (VILLS supplement 2)."""
    frames: int = 8
    """Frames of a video, drawn at random (VILLS supplement 2)."""
    region_size: Size = (128, 64)
    """Height and width of an image's local region (VILLS supplement 2)."""
    frame_region_size: Size = (32, 22)
    """Height and width of a frame's local region: half the frame's, as for images (paper silent)."""
    views: int = 2
    """Global views of an image or video (DINO: 2)."""
    crop_scale: tuple[float, float] = (0.4, 1.0)
    """Part of the area that a global view keeps (DINO: 0.4 to 1)."""
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1)
    """Brightness, contrast, saturation and hue (DINO)."""
    grey: float = 0.2
    """Probability of losing the colour (DINO)."""
    blur: float = 0.5
    """Probability of the blur (DINO: 1.0 and 0.1 for its two global views)."""
    mask_ratio: float = 0.3
    """Mean share of hidden patches (iBOT)."""
    mask_spread: float = 0.2
    """Half the range of that share (iBOT)."""
    mask_probability: float = 0.5
    """Probability that a view has hidden patches at all (iBOT)."""
    freeze_prototypes_epochs: float = 1.0
    """Epochs in which the prototypes don't learn (DINO: 1)."""
    objective: VILLSConfig = field(default_factory=VILLSConfig)
    """Heads, temperatures and the weights of the losses."""
    checkpoint: str | None = None
    """A teacher.pt to start from, such as one of a synthetic world."""


@dataclass
class FinetuneConfig:
    """Supervised fine-tuning of the teacher's encoder and resampler (VILLS supplement 1)."""

    init: Literal["pretrained", "scratch", "both"] = "pretrained"
    """Where weights come from; both trains twice with the same budget, for comparison."""
    checkpoint: str | None = None
    """A teacher.pt in place of this run's own; pre-training is then left out."""
    train: Training = field(
        default_factory=lambda: Training(
            epochs=60,
            warmup_epochs=5,
            lr=3.5e-4,
            weight_decay=0.05,
            weight_decay_end=None,
            clip_grad=None,
        )
    )
    """Length and optimiser. An epoch has as many batches as there are images (else clips) for one pass."""
    identities: int = 16
    """P, identities a batch over all ranks (Hermans et al. 2017)."""
    image_instances: int = 4
    """K, images an identity; 0 trains without images."""
    clip_instances: int = 2
    """Clips an identity; 0 trains without clips."""
    image_size: Size | None = None
    """Height and width; null as in pre-training."""
    frame_size: Size | None = None
    """Height and width of a clip's frame; null as in pre-training."""
    frames: int | None = None
    """Frames of a clip; null as in pre-training."""
    encoder_lr_scale: float = 1.0
    """Learning rate of the encoder and resampler, as a factor of that of the head."""
    margin: float | None = None
    """Margin of the triplet loss; null for the soft margin."""
    normalize: bool = False
    """Whether the triplet loss compares features of unit length."""
    label_smoothing: float = 0.1
    """Label smoothing of the identity loss (Luo et al. 2019)."""
    padding: int = 10
    """Zeros around an image before it is cropped (Luo et al. 2019: 10 pixels for 256x128)."""
    erasing: float = 0.5
    """Probability of random erasing (Zhong et al. 2017)."""
    jitter: tuple[float, float, float, float] | None = None
    """Brightness, contrast, saturation and hue; null for none."""


@dataclass
class EvaluateConfig:
    """Retrieval of images, of videos, and of videos by single frames."""

    metric: Literal["cosine", "euclidean"] = "cosine"
    """Distance between descriptors."""
    protocol: Literal["market1501", "pku_reid", "prid2011"] = "market1501"
    """Gallery rows that count: market1501 (MARS, MSMT17) leaves out the query's person in its own camera,
    pku_reid (VIPeR) that whole camera, prid2011 (iLIDS-VID) nothing."""
    flip: bool = False
    """Whether a descriptor is the mean of that of the input and that of its mirror image."""
    frames: int | None = None
    """Frames of a clip, spread evenly over its tracklet; null as in fine-tuning."""
    batch_size: int = 64
    """Images or clips at a time."""
    ranked_queries: int = 6
    """Queries in the picture of ranked lists."""
    top: int = 10
    """Answers shown for each of them."""


@dataclass
class Config:
    """A whole run."""

    experiment: str = "vills"
    """MLflow experiment, and folder below runs."""
    name: str = "run"
    """Name of the run, and folder below the experiment."""
    runs: str = "runs"
    """Folder of all runs."""
    tracking_uri: str | None = None
    """MLflow store; null for MLFLOW_TRACKING_URI, else mlflow.db in the folder of all runs."""
    seed: int = 0
    """Seed of weights, batches and augmentation."""
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    lse: LSEConfig = field(default_factory=LSEConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    machine: Machine = field(default_factory=Machine)

    @property
    def folder(self) -> Path:
        """The run folder, runs/EXPERIMENT/NAME."""
        return Path(self.runs) / self.experiment / self.name

    @property
    def needs_pretraining(self) -> bool:
        """Whether fine-tuning reads this run's own teacher."""
        return self.finetune.init != "scratch" and self.finetune.checkpoint is None


def sources(data: DataConfig) -> dict[str, Source]:
    """Every source by its dotted name in the configuration.

    Args:
        data: the data configuration.

    Returns:
        Dotted name -> source, without those that are None.

    Example:
        >>> list(sources(DataConfig(image=Source("market1501"), pretrain=[Source("folder")])))
        ['data.image', 'data.pretrain.0']
    """
    named = {"data.image": data.image, "data.video": data.video}
    named |= {f"data.pretrain.{number}": source for number, source in enumerate(data.pretrain)}
    return {name: source for name, source in named.items() if source is not None}


def written(data: DataConfig, source: Source) -> bool:
    """Whether a source is a layout of the synthetic world that `prepare` writes.

    Args:
        data: the data configuration.
        source: one of its sources.

    Returns:
        True when it has no root of its own and its layout is written.

    Example:
        >>> written(DataConfig(synthetic=Synthetic()), Source("mars"))
        True
    """
    return data.synthetic is not None and not source.root and source.name in data.synthetic.layouts


def train_config(train: Training, machine: Machine, steps_per_epoch: int) -> TrainConfig:
    """The training loop's settings, with epochs turned into optimiser steps.

    Args:
        train: a training's settings.
        machine: what it runs on.
        steps_per_epoch: batches of one pass over the pool.

    Returns:
        Settings for `reid_core.training.loop.fit`.

    Example:
        >>> train_config(Training(epochs=10, warmup_epochs=1), Machine(), steps_per_epoch=7).steps
        70
    """
    steps = train.steps or max(1, ceil(train.epochs * steps_per_epoch / train.accumulate))
    warmup = min(round(train.warmup_epochs * steps_per_epoch / train.accumulate), max(0, steps // 2))
    return TrainConfig(
        steps=steps,
        lr=train.lr,
        min_lr=train.min_lr,
        warmup_steps=warmup,
        weight_decay=train.weight_decay,
        weight_decay_end=train.weight_decay_end,
        clip_grad=train.clip_grad,
        precision=train.precision,
        accelerator=machine.accelerator,
        devices=machine.devices,
        num_nodes=machine.num_nodes,
        strategy=machine.strategy,
        accumulate=train.accumulate,
        checkpoint_every=train.checkpoint_every,
        log_every=train.log_every,
        workers=machine.workers,
    )


def result_only(train: Training) -> Training:
    """A training's settings without those that don't change its result, for fingerprints.

    Args:
        train: the settings.

    Returns:
        A copy in which checkpointing and logging have their defaults.

    Example:
        >>> result_only(Training(log_every=1)) == result_only(Training(log_every=9))
        True
    """
    return replace(train, checkpoint_every=Training.checkpoint_every, log_every=Training.log_every)
