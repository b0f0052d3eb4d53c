"""Everything that `cion run` and its stages can be told, typed; `cion run --help` prints it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import Any, Literal

from cion.config import Augmentation, Evaluation, Size
from reid_core.processes import Machine
from reid_core.training.config import TrainConfig
from reid_denoise import Criteria
from reid_pretrain import CIONConfig

Variant = Literal["none", "dino", "raw", "tracklet", "video", "cross_video"]
LR_BATCH = 256
"""Batch that a learning rate of pre-training is told for (DINO)."""


@dataclass
class Source:
    """A data set on disk and the reader that understands it."""

    name: str = ""
    """Reader, as `reid-data list` prints them."""
    root: str = ""
    """Folder of the data set as released; empty where the synthetic world is read."""
    options: dict[str, Any] = field(default_factory=dict)
    """The reader's own options, such as train_fraction and seed of pku_reid."""


@dataclass
class Videos(Source):
    """Tracked video, or raw video to be tracked: what is pre-trained on."""

    name: str = "synth_pedes"
    """Reader of a manifest with tracklets; in a "folder", VIDEO/TRACKLET/FRAME.jpg."""
    raw: str | None = None
    """Folder of raw videos in place of `root`: persons are detected and tracked first (extra `video`)."""
    detector: str = ""
    """Weights of torchvision's fasterrcnn_resnet50_fpn_v2, for raw videos."""
    min_frames: int = 8
    """Shortest tracklet that is kept of raw videos."""


@dataclass
class Synthetic:
    """A synthetic world with three groups of people before the same cameras, in place of data on disk."""

    world: dict[str, Any] = field(default_factory=dict)
    """Dials of reid_core.synthetic.World: cameras, seed, height, width, ..."""
    target: dict[str, Any] = field(default_factory=dict)
    """`identities`, the first so many people, and options of write_market1501: train_identities, ..."""
    labelled: dict[str, Any] = field(default_factory=dict)
    """`identities`, so many people after those, and `images_per_camera`: what the extractor learns from."""
    videos: dict[str, Any] = field(default_factory=dict)
    """`identities`, so many people after those, and options of write_folder: frames, stride, ..."""
    switch: float = 0.2
    """Share of a video's tracklets that end with the images of another."""
    split: float = 0.2
    """Share of the tracklets that the tracker lost half-way and gave a new number."""


@dataclass
class Data:
    """Where images come from."""

    videos: Videos = field(default_factory=Videos)
    """What is pre-trained on."""
    target: Source = field(default_factory=lambda: Source("market1501"))
    """Labelled images to fine-tune and to evaluate on; without a root, the synthetic world's."""
    synthetic: Synthetic | None = None
    """Write a synthetic world and read it."""
    ratio: float = 1.0
    """Part of the identities that is pre-trained on (Fig. 6)."""


@dataclass
class Network:
    """A backbone."""

    backbone: str = "resnet50_ibn"
    """Any that `reid-models list` prints (ReIDZoo's 32), or a name of timm's."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the backbone's constructor."""
    image_size: Size = (256, 128)
    """Height and width of an image, and of a global view (CION 4.1)."""


@dataclass
class Finetune:
    """Supervised fine-tuning."""

    method: Literal["bag_of_tricks", "transreid", "mgn"] = "bag_of_tricks"
    """Luo et al. 2019; TransReID, with its jigsaw on ViTs with a class token and the global feature alone on
    other backbones; or MGN on a ResNet."""
    identities: int = 16
    """P, identities a batch over all ranks (Hermans et al. 2017)."""
    instances: int = 4
    """K, images an identity."""
    margin: float | None = 0.3
    """Margin of the triplet loss; null for the soft margin (TransReID)."""
    normalize: bool = False
    """Whether bag of tricks' triplet loss compares features of unit length."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    train: TrainConfig = field(default_factory=lambda: TrainConfig(steps=24_000, warmup_steps=2_000))
    """Length and optimiser; what it runs on is `machine`'s."""


@dataclass
class Extractor:
    """The model whose features are denoised by; the paper's is a ViT-B trained on UFine6926 (4.1)."""

    features: str | None = None
    """Features of the tracklets' images, *.npy [n d], in place of a model."""
    weights: str | None = None
    """Checkpoint of the backbone."""
    source: Source | None = None
    """Labelled data to train it on first; on a synthetic world, its labelled people."""
    standardise: bool = False
    """Whether each video's features are brought to mean 0 and deviation 1, for extractors that see what
    cameras differ in."""
    model: Network = field(default_factory=lambda: Network("vit_base"))
    """The network."""
    finetune: Finetune = field(default_factory=Finetune)
    """How it is trained on `source`."""


@dataclass
class Pretrain:
    """Identity-guided self-distillation (CION 3.3, 4.1)."""

    epochs: int = 100
    """Passes over the images (CION 4.1)."""
    batch: int = 960
    """Images a step over all ranks (ResNet50-IBN: 120 on each of 8 GPUs, by the authors' README)."""
    curriculum: dict[int, int] = field(default_factory=lambda: {0: 2, 40: 4, 60: 6, 80: 8})
    """Epoch -> images an identity, N_id (CION 4.1)."""
    local_views: int = 8
    """Local views of an image (CION 4.1)."""
    local_size: Size = (128, 64)
    """Height and width of a local view (CION 4.1)."""
    global_scale: tuple[float, float] = (0.4, 1.0)
    """Part of the area that a global view keeps (DINO; the authors' code has 0.8 to 1)."""
    local_scale: tuple[float, float] = (0.05, 0.4)
    """Part of the area that a local view keeps (DINO; the authors' code has 0.05 to 0.8)."""
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1)
    """Brightness, contrast, saturation and hue (DINO)."""
    grey: float = 0.2
    """Probability of losing the colour (DINO)."""
    drop_path: float = 0.0
    """Stochastic depth of the student (DINO: 0.1 for its ViTs)."""
    lr: float = 5e-4
    """Highest learning rate for a batch of 256; it grows with the batch (DINO)."""
    min_lr: float = 1e-6
    """Learning rate at the end (DINO)."""
    warmup_epochs: float = 10.0
    """Linear warm-up (DINO)."""
    weight_decay: float = 0.04
    """Weight decay at the start (DINO)."""
    weight_decay_end: float = 0.4
    """Weight decay at the end (DINO)."""
    clip_grad: float | None = 3.0
    """Largest norm of the gradient (DINO)."""
    freeze_prototypes_epochs: float = 1.0
    """Epochs in which the prototypes don't learn (DINO)."""
    precision: str = "auto"
    """Lightning's precision; "auto" is bf16-mixed where the hardware multiplies it, else 32-true."""
    checkpoint_every: int = 500
    """Steps between two checkpoints."""
    log_every: int = 20
    """Steps between two records of the losses."""
    objective: CIONConfig = field(default_factory=CIONConfig)
    """Head, temperatures and the weighting of the loss."""


@dataclass
class RunConfig:
    """A whole run."""

    experiment: str = "cion"
    """MLflow experiment, and folder below runs."""
    name: str = "run"
    """Name of the run, and folder below the experiment."""
    runs: str = "runs"
    """Folder of all runs."""
    tracking_uri: str | None = None
    """MLflow store; null for MLFLOW_TRACKING_URI, else mlflow.db in the folder of all runs."""
    seed: int = 0
    """Seed of weights, batches and augmentation."""
    variants: list[Variant] = field(default_factory=lambda: ["cross_video"])
    """What is fine-tuned, with one budget: from no pre-training (none), DINO on the same images (dino), CION
    on tracklets as they come (raw), or on identities denoised to a level (tracklet, video, cross_video)."""
    data: Data = field(default_factory=Data)
    extractor: Extractor = field(default_factory=Extractor)
    denoise: Criteria = field(default_factory=Criteria)
    """sigma_cst, sigma_drm and r_s (CION 4.1: 0.2, 0.18, 1000)."""
    model: Network = field(default_factory=Network)
    """What is pre-trained and fine-tuned."""
    pretrain: Pretrain = field(default_factory=Pretrain)
    finetune: Finetune = field(default_factory=Finetune)
    evaluate: Evaluation = field(default_factory=Evaluation)
    machine: Machine = field(default_factory=Machine)

    @property
    def folder(self) -> Path:
        """The run folder, runs/EXPERIMENT/NAME."""
        return Path(self.runs) / self.experiment / self.name


def on_machine(train: TrainConfig, machine: Machine) -> TrainConfig:
    """A training's settings on this machine.

    Args:
        train: length and optimiser.
        machine: what it runs on.

    Example:
        >>> on_machine(TrainConfig(steps=300), Machine(accelerator="cpu")).accelerator
        'cpu'
    """
    return replace(
        train,
        accelerator=machine.accelerator,
        devices=machine.devices,
        num_nodes=machine.num_nodes,
        strategy=machine.strategy,
        workers=machine.workers,
    )


def pretraining_schedule(settings: Pretrain, steps_per_epoch: int, machine: Machine) -> TrainConfig:
    """The training loop's settings for a pre-training, with epochs turned into steps.

    Args:
        settings: of the pre-training.
        steps_per_epoch: batches an epoch.
        machine: what it runs on.

    Example:
        >>> schedule = pretraining_schedule(Pretrain(), 4060, Machine())
        >>> schedule.steps, schedule.warmup_steps, schedule.lr
        (406000, 40600, 0.001875)
    """
    steps = settings.epochs * steps_per_epoch
    scale = settings.batch / LR_BATCH
    train = TrainConfig(
        steps=steps,
        lr=settings.lr * scale,
        min_lr=min(settings.min_lr, settings.lr * scale),
        warmup_steps=min(ceil(settings.warmup_epochs * steps_per_epoch), steps // 2),
        weight_decay=settings.weight_decay,
        weight_decay_end=settings.weight_decay_end,
        clip_grad=settings.clip_grad,
        precision=settings.precision,
        checkpoint_every=settings.checkpoint_every,
        log_every=settings.log_every,
    )
    return on_machine(train, machine)
