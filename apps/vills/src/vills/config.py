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
    """Number of times that pre-training's pool holds it, so that a small data set counts beside a large
    one."""
    regions: str | dict[str, str] = ""
    """Folder that `reid-lse extract` wrote of its images, or several by name, such as {ism: A, parsing: B};
    empty for those of the stage lse."""


@dataclass
class RawVideo:
    """Video to be tracked, whose tracklets are pre-trained on (VILLS 4.1: Kinetics-700)."""

    root: str = ""
    """Folder of videos, at any depth."""
    detector: str = ""
    """File of weights of torchvision's fasterrcnn_resnet50_fpn_v2."""
    confidence: float = 0.8
    """Least mean score of a kept track's boxes, from 0 to 1 (VILLS 4.1: 0.8)."""
    min_frames: int = 8
    """Frames of the shortest tracklet that is kept (VILLS trains on 8)."""


@dataclass
class DataConfig:
    """Where images and videos come from."""

    root: str = ""
    """Folder for each source that names none of its own."""
    image: PoolSource | None = None
    """Labelled images: train, query and gallery. null leaves images out; with neither these nor videos, a run
    ends with pre-training."""
    video: PoolSource | None = None
    """Labelled tracklets: train, query and gallery. null leaves videos out."""
    mix: Source | None = None
    """Query images and gallery tracklets (image_video), in place of the query and gallery of image and video,
    which are then trained on alone."""
    same_people: bool = False
    """Whether a pid means the same person in image and video (one data set, or one world)."""
    pretrain: list[PoolSource] = field(default_factory=list)
    """Further unlabeled sources: single images are pre-trained on as images, sub-folders as videos."""
    raw: RawVideo | None = None
    """Raw video to pre-train on besides; null for none. Of much video, several processes of
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
    """Backbone by name: any that `reid-models list` prints, or one of timm's (VILLS supplement 2: ViT-S and
    ViT-B)."""
    options: Options = field(default_factory=dict)
    """Options of the backbone's constructor, such as depth (blocks)."""
    drop_path: float = 0.0
    """Probability, from 0 to 1, that the student skips a block, largest in the last (DINO: 0.1)."""
    tokens: int = 4
    """L, the resampler's queries: one for the whole person and one for each of three areas (not specified
    in the paper). 0 for no resampler: the class token, of a video its mean over frames (Table 2b)."""
    resampler_depth: int = 1
    """Layers of the resampler (VILLS supplement 2: "a small transformer layer")."""
    resampler_heads: int = 4
    """Attention heads of the resampler (not specified in the paper)."""


@dataclass
class LSEConfig:
    """Local semantic extraction (VILLS Eqs. 1-5); masks are made once and kept."""

    keypoints: str = "prior"
    """Keypoint predictor of reid-lse: prior, blazepose, keypointrcnn_resnet50_fpn (the paper's model),
    vitpose, sapiens2 or rtmpose; or a file of keypoints."""
    keypoint_options: Options = field(default_factory=dict)
    """Options of the predictor, such as checkpoint."""
    segmenter: str = "crf"
    """Segmenter of reid-lse: crf, grabcut, the paper's SAM (sam_vit_b, sam_vit_l or sam_vit_h), or another
    that `reid-lse extract --help` lists."""
    segmenter_options: Options = field(default_factory=dict)
    """Options of the segmenter, such as checkpoint, precision and pack (crops per canvas) of SAM."""
    areas: list[str] = field(default_factory=lambda: ["head", "torso", "legs"])
    """Areas that masks are made of, A of Eq. 5 (the paper's best number: three): head, torso, legs, left_arm,
    right_arm, left_leg, right_leg, upper, lower, feet."""
    size: Size = (128, 64)
    """Height and width, in pixels, at which images are segmented and masks are kept."""
    ray: str | None = None
    """Address of a Ray cluster that segments (auto, local, ray://HOST:10001); changes no result."""


@dataclass
class PretrainConfig:
    """Self-supervised pre-training (VILLS 3.2)."""

    train: Training = field(default_factory=dino_training)
    """Length and optimiser; an epoch is one pass over the images of the pool (else its videos)."""
    image_batch: int = 128
    """Images per step over all ranks (VILLS supplement 2: 128 for ViT-S, 64 for ViT-B, with 8 GPUs; read as
    the batch of all, so that any number of GPUs gives one result)."""
    video_batch: int = 32
    """Videos per step over all ranks (VILLS supplement 2: 32 for ViT-S, 16 for ViT-B)."""
    batch_per_device: bool = False
    """Whether both batches are of each device, the other reading; scale `train.lr` with it."""
    image_size: Size = (256, 128)
    """Height and width of an image in pixels (VILLS supplement 2: 256x128)."""
    frame_size: Size = (64, 44)
    """Height and width of a video's frame in pixels (VILLS supplement 2: 64x44)."""
    frames: int = 8
    """Frames of a video, drawn at random (VILLS supplement 2: 8)."""
    track_frames: int | None = None
    """Frames of a video that they are drawn from and that are segmented, spread evenly; null for all."""
    areas: list[str] | None = None
    """Areas whose regions the student sees, some of lse's; null for all of them, [] for none."""
    regions: str | None = None
    """Name of the region folder that is used where a source has several (Table 2a); null for the first."""
    region_size: Size = (128, 64)
    """Height and width of an image's local region in pixels (VILLS supplement 2: 128x64)."""
    frame_region_size: Size = (32, 22)
    """Height and width of a frame's local region in pixels: half the frame's, as for images (not specified in
    the paper)."""
    views: int = 2
    """Global views per image or video (DINO: 2)."""
    crop_scale: tuple[float, float] = (0.4, 1.0)
    """Least and largest share of the area that a global view keeps (DINO: 0.4 to 1)."""
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1)
    """Largest changes of brightness, contrast and saturation, as shares, and of hue, as a share of the colour
    circle (DINO)."""
    grey: float = 0.2
    """Probability, from 0 to 1, that a view loses its colour (DINO: 0.2)."""
    blur: float = 0.5
    """Probability, from 0 to 1, that a view is blurred (DINO: 1.0 and 0.1 for its two global views)."""
    mask_ratio: float = 0.3
    """Mean share of patches, from 0 to 1, that are hidden from the student (iBOT: 0.3)."""
    mask_spread: float = 0.2
    """Half the range of that share, from 0 to 1 (iBOT: 0.2)."""
    mask_probability: float = 0.5
    """Probability, from 0 to 1, that a view has hidden patches at all (iBOT: 0.5)."""
    freeze_prototypes_epochs: float = 1.0
    """First epochs in which the prototypes don't learn (DINO: 1)."""
    objective: VILLSConfig = field(default_factory=VILLSConfig)
    """Heads, temperatures and the weights of the losses."""
    checkpoint: str | None = None
    """A teacher.pt to start from, such as one of a synthetic world."""


@dataclass
class FinetuneConfig(Augmentation):
    """Supervised fine-tuning of the teacher's encoder and resampler (VILLS supplement 1)."""

    init: Literal["pretrained", "scratch", "both"] = "pretrained"
    """Where weights come from: pretrained, scratch (random weights), or both, which trains twice with the
    same budget, for comparison."""
    checkpoint: str | None = None
    """A teacher.pt in place of this run's own; pre-training is then left out."""
    train: Training = field(
        default_factory=lambda: Training(
            epochs=60.0, warmup_epochs=5.0, lr=3.5e-4, min_lr=1e-6, weight_decay=0.05
        )
    )
    """Length and optimiser. An epoch has as many batches as there are images (else clips) for one pass."""
    identities: int = 16
    """P, identities per batch over all ranks (Luo et al. 2019: 16)."""
    image_instances: int = 4
    """K, images per identity in a batch (Luo et al. 2019: 4); 0 trains without images."""
    clip_instances: int = 2
    """Clips per identity in a batch; 0 trains without clips."""
    image_size: Size | None = None
    """Height and width of an image in pixels; null as in pre-training."""
    frame_size: Size | None = None
    """Height and width of a clip's frame in pixels; null as in pre-training."""
    frames: int | None = None
    """Frames per clip; null as in pre-training."""
    encoder_lr_scale: float = 1.0
    """Factor of the learning rate of the encoder and resampler; the head has `train.lr`."""
    margin: float | None = None
    """Margin of the triplet loss, in the features' distance; null for the soft margin."""
    normalize: bool = False
    """Whether the triplet loss compares features of unit length."""
    label_smoothing: float = 0.1
    """Share of the identity loss's target that is spread over all classes, from 0 to 1 (Luo et al. 2019:
    0.1)."""
    evaluate_every: int | None = None
    """Epochs between two models that are kept for evaluation (VILLS supplement 4); null keeps the last
    alone."""


@dataclass
class EvaluateConfig:
    """Retrieval of images, of videos, and of videos by single frames."""

    metric: Literal["cosine", "euclidean"] = "cosine"
    """Distance between descriptors."""
    protocol: str | None = None
    """Gallery rows that count, by a data set's name (`reid-eval run --help` lists them); null for each
    source's own."""
    galleries: int | None = None
    """Number of galleries of one image per person that results are the mean over; 0 for the whole gallery,
    null for the data set's own number (PRCC: 10)."""
    far: list[float] = field(default_factory=list)
    """False accept rates, between 0 and 1, at which the true accept rate is given (VILLS Table 1d: 1e-4, 1e-3
    and 1e-2)."""
    flip: bool = False
    """Whether a descriptor is the mean of that of the input and that of its mirror image."""
    frames: int | None = None
    """Frames per clip, spread evenly over its tracklet; null as in fine-tuning."""
    ranked_queries: int = 6
    """Number of queries in the picture of ranked lists."""
    top: int = 10
    """Answers per query in that picture."""


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
