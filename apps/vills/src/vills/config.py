"""Settings of `vills` beside those of every recipe; `vills run --help` prints them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from reid_core.options import Options
from reid_core.processes import ranks
from reid_core.recipe.config import RecipeConfig
from reid_core.recipe.sources import Source, Synthetic
from reid_core.training.config import Augmentation, Training, dino_training
from reid_pretrain.config import VILLSConfig

Size = tuple[int, int]


@dataclass
class PoolSource(Source):
    """A data set that may be pre-trained on."""

    repeat: int = 1
    """Times that pre-training's pool holds it, so that a small data set isn't drowned by a large one."""
    regions: str | dict[str, str] = ""
    """Folder that `reid-lse extract` wrote of its images, or several by name, such as {ism: A, parsing: B};
    empty for those of the stage lse."""


@dataclass
class RawVideo:
    """Video to be tracked, whose tracklets are pre-trained on (VILLS 4.1: Kinetics-700)."""

    root: str = ""
    """Folder of videos, at any depth."""
    detector: str = ""
    """Weights of torchvision's fasterrcnn_resnet50_fpn_v2."""
    confidence: float = 0.8
    """Least mean score of a kept track's boxes (VILLS 4.1)."""
    min_frames: int = 8
    """Shortest tracklet that is kept (VILLS trains on 8 frames)."""


@dataclass
class DataConfig:
    """Where images and videos come from."""

    root: str = ""
    """Folder for each source that names none of its own."""
    image: PoolSource | None = None
    """Labelled images: train, query and gallery. None leaves images out; with neither these nor videos, a run
    ends with pre-training."""
    video: PoolSource | None = None
    """Labelled tracklets: train, query and gallery. None leaves videos out."""
    mix: Source | None = None
    """Query images and gallery tracklets (image_video), in place of the query and gallery of image and video,
    which are then trained on alone."""
    same_people: bool = False
    """Whether a pid means the same person in image and video (one data set, or one world)."""
    pretrain: list[PoolSource] = field(default_factory=list)
    """Further unlabeled sources: single images are pre-trained on as images, sub-folders as videos."""
    raw: RawVideo | None = None
    """Raw video to pre-train on besides; None for none. Of much video, several processes of
    `reid-data tracklets` make a manifest that is one of `pretrain`."""
    pretrain_splits: list[str] = field(default_factory=lambda: ["train"])
    """Splits of image and video that are pre-trained on, without their labels; [] keeps them out (VILLS 4.1
    pre-trains on unlabeled data alone)."""
    synthetic: Synthetic | None = None
    """Write a synthetic world first; a source without a root whose name is a written layout reads it."""


@dataclass
class ModelConfig:
    """The shared encoder and the resampler (VILLS Eqs. 6 and 7)."""

    backbone: str = "vit_nano_conv8"
    """A backbone of reid_core.models.backbones, or a timm name."""
    options: Options = field(default_factory=dict)
    """Options of the backbone's constructor, such as depth."""
    drop_path: float = 0.0
    """Stochastic depth (DINO: 0.1 for the student's ViT)."""
    tokens: int = 4
    """L, the resampler's queries: one for the whole person and one for each of three areas (not specified
    in the paper). 0 for no resampler: the class token, of a video its mean over frames (Table 2b)."""
    resampler_depth: int = 1
    """Layers of the resampler ("a small transformer layer", VILLS supplement 2)."""
    resampler_heads: int = 4
    """Attention heads of the resampler (not specified in the paper)."""


@dataclass
class LSEConfig:
    """Local semantic extraction (VILLS Eqs. 1-5); masks are made once and kept."""

    keypoints: str = "prior"
    """Keypoint predictor of reid-lse, or a file of keypoints; the paper's is Keypoint R-CNN."""
    keypoint_options: Options = field(default_factory=dict)
    """Of the predictor, such as checkpoint."""
    segmenter: str = "crf"
    """Interactive segmentation model of reid-lse; the paper's is SAM (sam_vit_b, sam_vit_l, sam_vit_h)."""
    segmenter_options: Options = field(default_factory=dict)
    """Of the segmenter, such as checkpoint, precision and pack of SAM."""
    areas: list[str] = field(default_factory=lambda: ["head", "torso", "legs"])
    """Areas that masks are made of, A of Eq. 5; the paper's best number is three."""
    size: Size = (128, 64)
    """Height and width in pixels that images are segmented at and masks are kept at."""
    ray: str | None = None
    """Address of a Ray cluster that segments (auto, local, ray://HOST:10001); changes no result."""


@dataclass
class PretrainConfig:
    """Self-supervised pre-training (VILLS 3.2)."""

    train: Training = field(default_factory=dino_training)
    """Length and optimiser; an epoch is one pass over the images of the pool (else its videos)."""
    image_batch: int = 128
    """Images per step over all ranks (VILLS supplement 2: 128 for ViT-S, beside 8 GPUs). Read as those of a
    step and not of a GPU, so that any number of GPUs gives one result."""
    video_batch: int = 32
    """Videos per step over all ranks (VILLS supplement 2: 32 for ViT-S)."""
    batch_per_device: bool = False
    """The other reading: both batches are of each device. Scale `train.lr` with it."""
    image_size: Size = (256, 128)
    """Height and width of an image (VILLS supplement 2)."""
    frame_size: Size = (64, 44)
    """Height and width of a video's frame (VILLS supplement 2)."""
    frames: int = 8
    """Frames of a video, drawn at random (VILLS supplement 2)."""
    track_frames: int | None = None
    """Frames of a video that they are drawn from and that are segmented, spread evenly; null for all."""
    areas: list[str] | None = None
    """Areas whose regions the student sees, some of lse's; null for all of them, [] for none."""
    regions: str | None = None
    """Which folder of a source that names several (Table 2a); null for the first."""
    region_size: Size = (128, 64)
    """Height and width of an image's local region (VILLS supplement 2)."""
    frame_region_size: Size = (32, 22)
    """Height and width of a frame's local region: half the frame's, as for images (paper: not specified)."""
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
class FinetuneConfig(Augmentation):
    """Supervised fine-tuning of the teacher's encoder and resampler (VILLS supplement 1)."""

    init: Literal["pretrained", "scratch", "both"] = "pretrained"
    """Where weights come from; both trains twice with the same budget, for comparison."""
    checkpoint: str | None = None
    """A teacher.pt in place of this run's own; pre-training is then left out."""
    train: Training = field(
        default_factory=lambda: Training(
            epochs=60.0, warmup_epochs=5.0, lr=3.5e-4, min_lr=1e-6, weight_decay=0.05
        )
    )
    """Length and optimiser. An epoch has as many batches as there are images (else clips) for one pass."""
    identities: int = 16
    """P, identities per batch over all ranks (Hermans et al. 2017)."""
    image_instances: int = 4
    """K, images per identity; 0 trains without images."""
    clip_instances: int = 2
    """Clips per identity; 0 trains without clips."""
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
    evaluate_every: int | None = None
    """Epochs after each of which the model is kept for evaluation (supplement 4); null for the last alone."""


@dataclass
class EvaluateConfig:
    """Retrieval of images, of videos, and of videos by single frames."""

    metric: Literal["cosine", "euclidean"] = "cosine"
    """Distance between descriptors."""
    protocol: str | None = None
    """Gallery rows that count, by a data set's name (reid_eval.PROTOCOLS); null for each source's own."""
    galleries: int | None = None
    """Galleries of one image per person that results are the mean over; 0 for the whole gallery, null for the
    data set's own number (reid_eval.GALLERIES; PRCC: 10)."""
    far: list[float] = field(default_factory=list)
    """False accept rates at which the true accept rate is given (Table 1d: 1e-4, 1e-3 and 1e-2)."""
    flip: bool = False
    """Whether a descriptor is the mean of that of the input and that of its mirror image."""
    frames: int | None = None
    """Frames of a clip, spread evenly over its tracklet; null as in fine-tuning."""
    ranked_queries: int = 6
    """Queries in the picture of ranked lists."""
    top: int = 10
    """Answers shown for each of them."""


@dataclass
class Config(RecipeConfig):
    """A run of VILLS."""

    experiment: str = "vills"
    """MLflow experiment, and folder below runs."""
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    lse: LSEConfig = field(default_factory=LSEConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)

    @property
    def variants(self) -> tuple[str, ...]:
        """What is fine-tuned: "pretrained", "scratch" or both; nothing without labelled data."""
        if self.data.image is None and self.data.video is None:
            return ()
        init = self.finetune.init
        return ("pretrained", "scratch") if init == "both" else (init,)


@dataclass(frozen=True)
class Shapes:
    """Sizes of a model's inputs.

    Attributes:
        image: height and width of an image.
        frame: height and width of a clip's frame.
        frames: of a clip.
    """

    image: Size
    frame: Size
    frames: int


def areas(config: Config) -> list[str]:
    """Areas whose regions the student sees.

    Args:
        config: the whole configuration.
    """
    return config.lse.areas if config.pretrain.areas is None else config.pretrain.areas


def pretraining(config: Config) -> PretrainConfig:
    """Settings of pre-training, with the batches of all devices, and without what stages get beside them.

    Args:
        config: the whole configuration.

    Example:
        >>> pretraining(Config()).image_batch
        128
    """
    before = config.pretrain
    devices = ranks(config.runtime)[1] if before.batch_per_device else 1
    return replace(
        before,
        image_batch=devices * before.image_batch,
        video_batch=devices * before.video_batch,
        batch_per_device=False,
        track_frames=None,
        areas=None,
        regions=None,
        checkpoint=None,
    )


def pretraining_shapes(config: Config) -> Shapes:
    """Sizes that the model is built for.

    Args:
        config: the whole configuration.
    """
    before = config.pretrain
    return Shapes(before.image_size, before.frame_size, before.frames)


def finetuning_shapes(config: Config) -> Shapes:
    """Sizes in fine-tuning, those of pre-training where it names none.

    Args:
        config: the whole configuration.

    Example:
        >>> finetuning_shapes(Config()).image
        (256, 128)
    """
    tune, before = config.finetune, config.pretrain
    return Shapes(
        tune.image_size or before.image_size,
        tune.frame_size or before.frame_size,
        tune.frames or before.frames,
    )


def evaluation_shapes(config: Config) -> Shapes:
    """Sizes in evaluation, those of fine-tuning but for the frames of a clip where it names them.

    Args:
        config: the whole configuration.
    """
    tuned = finetuning_shapes(config)
    return replace(tuned, frames=config.evaluate.frames or tuned.frames)
