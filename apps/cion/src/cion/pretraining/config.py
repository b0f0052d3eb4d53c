"""Settings of `cion` beside those of every recipe; `cion run --help` prints them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from cion.config import LABELLED_SPLITS, TARGET, EvaluateConfig, FinetuneConfig, Network, Size
from cion.pretraining.variants import DINO, IDENTITIES, ON_TRACKLETS, Variant, parse_variants
from reid_core.options import Options
from reid_core.recipe.config import RecipeConfig
from reid_core.recipe.sources import Source, Sources, Synthetic
from reid_core.training.config import Training, dino_training
from reid_denoise.criteria import Criteria, Linking
from reid_pretrain.config import CIONConfig

VIDEOS, GIVEN, LABELLED = "data.videos", "data.identities", "extractor.source"
"""Names of the sources that are pre-trained on, and of the extractor's."""


@dataclass
class DataConfig:
    """Where images come from."""

    root: str = ""
    """Folder for each source that names none of its own."""
    videos: Source = field(default_factory=lambda: Source("synth_pedes"))
    """Tracked video that is pre-trained on; in a "folder", VIDEO/TRACKLET/FRAME.jpg."""
    identities: Source | None = None
    """Images whose identities are known, for the variant `identities` and for `dino`: CION-AL (cion_al), a
    manifest with pids, or the denoise/LEVEL.parquet of another run."""
    target: Source = field(default_factory=lambda: Source("market1501"))
    """Labelled images to fine-tune and to evaluate on."""
    further_targets: list[Source] = field(default_factory=list)
    """More data sets, on each of which every variant is fine-tuned and evaluated, too; each result then
    begins with its data set's name, such as market1501/dino/mAP."""
    images: int | None = None
    """Images that each variant is pre-trained on, as whole identities drawn at random, so that all variants
    see equally many (CION 4.1 and Fig. 5: 3.9 million); null for all."""
    synthetic: Synthetic | None = None
    """Write a synthetic world first; a source without a root that has the name of a layout reads it."""


@dataclass
class TrackletsConfig:
    """Raw video to be tracked in place of data.videos, and what is done to tracklets."""

    raw: str | None = None
    """Folder of raw videos: persons are detected and tracked first (extra `video` of reid-core)."""
    detector: str = ""
    """File of weights of torchvision's fasterrcnn_resnet50_fpn_v2, for raw videos."""
    min_frames: int = 8
    """Frames of the shortest tracklet that is kept of raw videos."""
    switch: float = 0.0
    """Share of a video's tracklets, from 0 to 1, that are made to end with the images of another one, as
    trackers' errors do; 0 changes none."""
    split: float = 0.0
    """Share of the tracklets, from 0 to 1, that are made to get a new number half-way, as if lost."""


@dataclass
class ExtractorConfig:
    """The model whose features are denoised by; the paper's is a ViT-B trained on UFine6926 (4.1)."""

    features: str | None = None
    """File of features of the tracklets' images, *.npy [n d], in place of a model."""
    weights: str | None = None
    """Checkpoint file of the backbone."""
    folder: str | None = None
    """A ready model in its place: a model folder, or an .onnx or .xml file (OpenVINO, its .bin beside it)."""
    preprocessing: Options = field(default_factory=dict)
    """What an exported model is fed, as fields of reid_core.models.Preprocessing, such as channels: BGR,
    max_value: 255, mean: [0, 0, 0], std: [1, 1, 1]; where no config.json lies beside it."""
    source: Source | None = None
    """Labelled data to train it on first; a synthetic world's folder is labelled by its truth."""
    standardise: bool = False
    """Whether each video's features are brought to mean 0 and standard deviation 1, for extractors whose
    features depend on the camera."""
    model: Network = field(default_factory=lambda: Network("vit_base"))
    """The network, where no folder or features are given."""
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    """How it is trained on `source`."""


@dataclass(frozen=True)
class DenoiseConfig(Criteria):
    """Criteria of denoising, and whether they are the ones given."""

    criteria: Literal["given", "auto"] = "given"
    """given: consistency and discrimination as they are here (CION 4.1); auto: both chosen for the features
    given, from distances within and between tracklets, without labels (`reid-denoise calibrate`)."""
    linking: Linking = "closure"
    """How near tracklets become one identity: closure (the paper's; all that are connected), mutual (each the
    other's nearest) or average (by mean distance)."""
    center_cameras: bool = False
    """Whether the mean feature of each camera's tracklets is subtracted first, for few cameras that each saw
    dozens of people; data.videos must name every image's camera. Not in the paper."""


@dataclass
class PretrainConfig:
    """Identity-guided self-distillation (CION 3.3, 4.1)."""

    train: Training = field(default_factory=lambda: replace(dino_training(), clip_mode="parameter"))
    """Length and optimiser; `lr` is for a batch of 256 and grows with the batch, and each parameter's
    gradient is clipped by itself (DINO's and CION's code). An epoch is one pass over the images."""
    batch: int = 960
    """Images per step over all ranks (ResNet50-IBN: 120 on each of 8 GPUs, by the authors' README)."""
    ratio: float = 1.0
    """Share of the identities that is pre-trained on, more than 0 and at most 1 (Fig. 6)."""
    draw: Literal["images", "identities"] = "images"
    """What an epoch sees equally often: images, as DINO and the authors' code, identities being drawn in
    proportion to theirs; or identities, the images of small ones then many times per epoch."""
    curriculum: dict[int, int] = field(default_factory=lambda: {0: 2, 40: 4, 60: 6, 80: 8})
    """Epoch -> images per identity from then on, N_id (CION 4.1: 2, then 4, 6 and 8 from epochs 40, 60,
    80)."""
    local_views: int = 8
    """Local views per image (DINO: 8; CION 4.1 adjusts it to the model, in a table that is a picture)."""
    local_size: Size = (128, 64)
    """Height and width of a local view in pixels (CION 4.1: 128x64)."""
    global_scale: tuple[float, float] = (0.4, 1.0)
    """Least and largest share of the area that a global view keeps (DINO; the authors' code: 0.8 to 1)."""
    local_scale: tuple[float, float] = (0.05, 0.4)
    """Least and largest share of the area that a local view keeps (DINO; the authors' code: 0.05 to 0.8)."""
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1)
    """Largest changes of brightness, contrast and saturation, as shares, and of hue, as a share of the colour
    circle (DINO)."""
    grey: float = 0.2
    """Probability, from 0 to 1, that a view loses its colour (DINO: 0.2)."""
    drop_path: float = 0.0
    """Probability, from 0 to 1, that the student skips a block, largest in the last (DINO: 0.1 for its ViTs;
    the authors' code: for Swin alone)."""
    freeze_prototypes_epochs: float = 1.0
    """First epochs in which the prototypes don't learn (DINO: 1)."""
    objective: CIONConfig = field(default_factory=CIONConfig)
    """Head, temperatures and the weighting of the loss."""


@dataclass
class Config(RecipeConfig):
    """A whole run."""

    experiment: str = "cion"
    """MLflow experiment, and folder below runs."""
    variants: list[str] = field(default_factory=lambda: ["cross_video"])
    """What is fine-tuned, with one budget: none (no pre-training), dino (on the same images), CION on raw
    (tracklets as they come), tracklet, video or cross_video (denoised up to that level) or identities (those
    of data.identities). "weights: PATH", in quotes, is a checkpoint of the backbone; {backbone} in it is the
    backbone's name."""
    data: DataConfig = field(default_factory=DataConfig)
    tracklets: TrackletsConfig = field(default_factory=TrackletsConfig)
    extractor: ExtractorConfig = field(default_factory=ExtractorConfig)
    denoise: DenoiseConfig = field(default_factory=DenoiseConfig)
    """The paper's sigma_cst, sigma_drm and r_s (CION 4.1: 0.2, 0.18 and 1000), and how they are used."""
    model: Network = field(default_factory=Network)
    """What is pre-trained and fine-tuned."""
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)


def sources(config: Config) -> Sources:
    """Every data source by its dotted name.

    Args:
        config: the whole configuration.

    Example:
        >>> list(sources(Config(tracklets=TrackletsConfig(raw="videos"))).by_name)
        ['data.target']
    """
    data, extractor = config.data, config.extractor
    named = dict(zip(targets(config).values(), [data.target, *data.further_targets], strict=True))
    needed: dict[str, tuple[str, ...]] = dict.fromkeys(named, LABELLED_SPLITS)
    if uses_identities(config) and data.identities is not None:
        named[GIVEN], needed[GIVEN] = data.identities, ("train",)
    if uses_videos(config):
        if config.tracklets.raw is None:
            named[VIDEOS] = data.videos
        if extractor.source is not None and extractor.features is None:
            named[LABELLED] = extractor.source
    return Sources(named, data.root, data.synthetic, needed)


def targets(config: Config) -> dict[str, str]:
    """The data sets to fine-tune on: the name of each -> its dotted name as a source; the main one first.

    The name is that in front of its results. A run with one data set has plain results, and "" as the name.

    Args:
        config: the whole configuration.

    Raises:
        ValueError: two have the same name.

    Example:
        >>> targets(Config(data=DataConfig(further_targets=[Source("mine/a.csv")])))
        {'market1501': 'data.target', 'a': 'data.further_targets.a'}
        >>> targets(Config())
        {'': 'data.target'}
    """
    if not config.data.further_targets:
        return {"": TARGET}
    further = [Path(source.name).stem for source in config.data.further_targets]
    named = {Path(config.data.target.name).stem: TARGET}
    named |= {name: f"data.further_targets.{name}" for name in further}
    if len(named) <= len(further):
        raise ValueError(f"data.further_targets: {', '.join(further)}: expected each data set once")
    return named


def variants(config: Config) -> list[Variant]:
    """What is compared.

    Args:
        config: the whole configuration.

    Raises:
        ValueError: none, one twice, or an unknown one.
    """
    return parse_variants(config.variants, config.model.backbone)


def uses_videos(config: Config) -> bool:
    """Whether a variant is pre-trained on tracked video.

    Args:
        config: the whole configuration.

    Example:
        >>> [uses_videos(Config(variants=[name])) for name in ("none", "dino", "raw", "weights: a.pth")]
        [False, True, True, False]
    """
    on_videos = ON_TRACKLETS if config.data.identities else (DINO, *ON_TRACKLETS)
    return any(one.kind in on_videos for one in variants(config))


def uses_identities(config: Config) -> bool:
    """Whether a variant is pre-trained on data.identities.

    Args:
        config: the whole configuration.
    """
    return any(one.kind in (DINO, IDENTITIES) for one in variants(config))


def extractor_split(config: Config) -> str:
    """The split of its source that the extractor is trained on: a folder's images are all one split.

    Args:
        config: the whole configuration, with an extractor's source.
    """
    return "unlabeled" if sources(config).reader(LABELLED) == "folder" else "train"
