"""Settings of `vsla-clip` beside those of every recipe; `vsla-clip run --help` prints them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from reid_adapters.config import (
    AdaptFormerConfig,
    IA3Config,
    Level,
    LoRAConfig,
    LossConfig,
    PBPConfig,
    VPTConfig,
    VSLAConfig,
)
from reid_core.options import Options
from reid_core.processes import ranks
from reid_core.recipe.config import RecipeConfig
from reid_core.recipe.sources import Source, Sources, Synthetic
from reid_core.training.config import Training

Size = tuple[int, int]
Channels = tuple[float, float, float]
Interpolation = Literal["bilinear", "bicubic"]
CLIP_MEAN: Channels = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Channels = (0.26862954, 0.26130258, 0.27577711)
"""Of the channels, as CLIP was trained with them (Radford et al., ICML 2021)."""
SOURCE = "data.video"
"""The one data source's name."""
TEST_SPLITS = ("query", "gallery")


@dataclass(frozen=True)
class Method:
    """What is attached to CLIP's image encoder and trained, and against what.

    Attributes:
        title: the paper's name.
        tune: nothing, all of the encoder, the adapter within frames (ifa), that and the one across frames
            (vsla), or another method to compare with.
        semantic: whether it is aligned with the text features of stage one (VSA).
        pbp: whether each platform has prompts.
    """

    title: str
    tune: Literal["nothing", "all", "ifa", "vsla", "lora", "adaptformer", "vpt", "ia3"]
    semantic: bool = True
    pbp: bool = False


METHODS = {
    "frozen": Method("frozen CLIP", "nothing", semantic=False),
    "baseline": Method("baseline", "all", semantic=False),
    "ft_clip": Method("baseline+VSA (FT-CLIP)", "all"),
    "ifa": Method("IFA", "ifa", semantic=False),
    "ifa_vsa": Method("IFA+VSA", "ifa"),
    "vsla_clip": Method("IFA+VSA+CFAA (VSLA-CLIP)", "vsla"),
    "vsla_clip_pbp": Method("IFA+VSA+CFAA+PBP", "vsla", pbp=True),
    "lora": Method("LoRA+VSA", "lora"),
    "adaptformer": Method("AdaptFormer+VSA", "adaptformer"),
    "vpt": Method("VPT-deep+VSA", "vpt"),
    "ia3": Method("(IA)^3+VSA", "ia3"),
}
"""What stage two trains: Table 3's rows, and others to compare with."""


@dataclass
class DataConfig:
    """Tracklets, and what the encoder sees of them."""

    root: str = ""
    """Folder of the data set as released, where video names none."""
    video: Source = field(default_factory=lambda: Source("g2a_vreid"))
    """Data set with tracklets: a reader that `reid-data list` prints, such as g2a_vreid, mars, ls_vid,
    ilids_vid or pku_reid, or a manifest file."""
    synthetic: Synthetic | None = None
    """Write a synthetic world first; without a root, a video whose name is a written layout reads it."""
    size: Size = (256, 128)
    """Height and width of a frame in pixels (VSLA-CLIP 5.2: 256x128)."""
    frames: int = 8
    """T, frames per clip, one of each equal part of the tracklet (VSLA-CLIP 5.2: 8). Their order changes
    nothing."""
    mean: Channels = CLIP_MEAN
    """Mean of each channel, of pixels from 0 to 1 (CLIP's; the paper names none, the release has
    ImageNet's)."""
    std: Channels = CLIP_STD
    """Standard deviation of each channel, of pixels from 0 to 1."""
    interpolation: Interpolation = "bilinear"
    """How frames are resized (the paper names none; the release: bicubic)."""
    padding: int = 10
    """Pixels of zeros on each side of a frame before it is cropped (VSLA-CLIP 5.2: 10)."""
    erasing: float = 0.5
    """Probability of random erasing, from 0 to 1 (VSLA-CLIP 5.2 names no number; CLIP-ReID: 0.5)."""


@dataclass
class Captioned:
    """A world of people whose captions say what they wear, to train a small CLIP on (Radford et al.)."""

    world: Options = field(default_factory=dict)
    """Settings of reid_core.synthetic.World, as in data.synthetic.world; with another seed than there, nobody
    is in both."""
    images: int = 1
    """Images per person and camera."""
    batch: int = 128
    """Images per step over all ranks, each of another person."""
    train: Training = field(default_factory=lambda: Training(epochs=100.0, lr=1e-3, weight_decay=0.1))
    """Length and optimiser."""


@dataclass
class CLIPConfig:
    """The CLIP to begin with."""

    name: str = "ViT-B-16-quickgelu"
    """Architecture by open_clip's name (`open_clip.list_models()` gives them all; VSLA-CLIP 5.2: ViT-B/16);
    the quickgelu one is OpenAI's."""
    small: Options | None = None
    """In place of a name: embed_dim, vision_cfg and text_cfg of open_clip.CLIP. The vision_cfg's image_size
    is data.size."""
    pretrained: str | None = None
    """Weights by open_clip's tag, such as openai (`open_clip.list_pretrained()` gives them all)."""
    checkpoint: str | None = None
    """File of weights that replace them: ViFi-CLIP's (VSLA-CLIP 5.2), or any CLIP's state dict with OpenAI's
    names."""
    captioned: Captioned | None = None
    """Train it from random weights on captioned synthetic people first."""


@dataclass
class Stage1Config:
    """Prompts of identities are learned against the frozen towers (4.2, Eq. 3)."""

    id_tokens: int = 4
    """M, tokens per identity (CLIP-ReID: 4)."""
    shared_tokens: int = 16
    """n, tokens shared by all identities, half on either side (released code: 8 and 8)."""
    words: tuple[str, str] = ("", ".")
    """Fixed words before and after the tokens (released code: none, and a full stop)."""
    batch: int = 64
    """Clips per step over all ranks (CLIP-ReID: 64)."""
    batch_per_device: bool = False
    """Whether the batch is of each device, the other reading; scale `train.lr` with it."""
    train: Training = field(
        default_factory=lambda: Training(
            optimizer="adam",  # 5.2
            lr=3.5e-4,  # 5.2
            warmup_epochs=5.0,  # CLIP-ReID
            weight_decay=1e-4,  # CLIP-ReID
        )
    )
    """Length and optimiser (VSLA-CLIP 5.2: Adam, 3.5e-4). An epoch is one pass over the training
    tracklets."""


@dataclass
class Stage2Config:
    """The image encoder, or what is attached to it, is trained against the prompts' features (Eq. 10)."""

    identities: int = 8
    """P, identities per batch over all ranks (VSLA-CLIP 5.2: 8)."""
    instances: int = 4
    """K, clips per identity in a batch (VSLA-CLIP 5.2: 32 clips of 8 identities)."""
    batch_per_device: bool = False
    """Whether the identities are of each device, the other reading; scale `train.lr` with it."""
    epoch: Literal["tracklets", "sampler"] = "tracklets"
    """What an epoch is: one pass over the tracklets (7,080 steps in 120 epochs on G2A-VReID), or the
    release's pass of the sampler, in which each person has at least one group of K tracklets (13,920
    steps)."""
    losses: LossConfig = field(default_factory=LossConfig)
    """Weights of the losses (VSLA-CLIP 5.2)."""
    train: Training = field(
        default_factory=lambda: Training(
            optimizer="adam",  # 5.2
            lr=1e-4,  # 5.2
            decay_epochs=(60.0, 90.0),  # 5.2
            weight_decay=1e-4,  # CLIP-ReID
        )
    )
    """Length and optimiser (VSLA-CLIP 5.2: Adam, 1e-4 for adapters, a tenth at epochs 60 and 90)."""
    full_lr: float = 5e-6
    """Learning rate in place of `train.lr` where the whole image encoder is trained (VSLA-CLIP 5.2: 5e-6)."""


@dataclass
class EvaluateConfig:
    """Retrieval of tracklets."""

    protocol: str | None = None
    """Gallery rows that count, by a data set's name (`reid-eval run --help` lists them); null for the data
    set's own."""
    frames: int | None = None
    """Frames per clip; null as in training."""
    sampling: Literal["even", "first"] = "even"
    """Which frame of each equal part of the tracklet is taken: its middle (even) or its first (the
    release)."""
    levels: tuple[Level, ...] = ("projected",)
    """Features that are concatenated and compared (Eq. 6: projected; the release: pooled and projected)."""


@dataclass
class Config(RecipeConfig):
    """A run of VSLA-CLIP."""

    experiment: str = "vsla_clip"
    """MLflow experiment, and folder below runs."""
    recipe: Literal["paper", "released"] = "paper"
    """Whose settings are the defaults where they differ: the paper's, or those of the authors' release;
    `vsla-clip config --recipe released` prints them all."""
    released: str | None = None
    """Checkpoint file of the authors' code to evaluate as they do; nothing is trained."""
    method: str = "vsla_clip"
    """What stage two trains: frozen, baseline, ft_clip, ifa, ifa_vsa, vsla_clip, vsla_clip_pbp, lora,
    adaptformer, vpt or ia3."""
    data: DataConfig = field(default_factory=DataConfig)
    clip: CLIPConfig = field(default_factory=CLIPConfig)
    adapters: VSLAConfig = field(default_factory=VSLAConfig)
    pbp: PBPConfig = field(default_factory=lambda: PBPConfig(("ground", "aerial")))
    lora: LoRAConfig = field(default_factory=LoRAConfig)
    adaptformer: AdaptFormerConfig = field(default_factory=AdaptFormerConfig)
    vpt: VPTConfig = field(default_factory=VPTConfig)
    stage1: Stage1Config = field(default_factory=Stage1Config)
    stage2: Stage2Config = field(default_factory=Stage2Config)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)


@dataclass(frozen=True)
class Preprocessing:
    """What is done to a frame; its fields are those of `DataConfig`."""

    size: Size
    mean: Channels
    std: Channels
    interpolation: Interpolation


Adapters = VSLAConfig | LoRAConfig | AdaptFormerConfig | VPTConfig | IA3Config
"""Settings of what a method attaches."""


@dataclass(frozen=True)
class Adaptation:
    """What a method changes about CLIP's image encoder.

    Attributes:
        adapters: VSLA's or another method's; None for none.
        pbp: prompts of each platform, where it has them.
        full: whether the whole image encoder is trained.
    """

    adapters: Adapters | None
    pbp: PBPConfig | None
    full: bool


def sources(config: Config) -> Sources:
    """The data source by its dotted name.

    Args:
        config: the whole configuration.

    Example:
        >>> list(sources(Config()).by_name)
        ['data.video']
    """
    data = config.data
    splits = ("train", *TEST_SPLITS) if config.released is None else TEST_SPLITS
    return Sources({SOURCE: data.video}, data.root, data.synthetic, {SOURCE: splits}, (SOURCE,))


def preprocessing(config: Config) -> Preprocessing:
    """What is done to a frame.

    Args:
        config: the whole configuration.

    Example:
        >>> preprocessing(Config()).size
        (256, 128)
    """
    data = config.data
    return Preprocessing(data.size, data.mean, data.std, data.interpolation)


def architecture(config: Config) -> CLIPConfig:
    """The CLIP to begin with, without what trains it and without its file, which stages read by themselves.

    Args:
        config: the whole configuration.

    Example:
        >>> architecture(Config(clip=CLIPConfig(pretrained="openai", checkpoint="vifi.pth"))).checkpoint
    """
    name = config.clip.name if config.clip.small is None else "small"
    return replace(config.clip, name=name, checkpoint=None, captioned=None)


def adaptation(config: Config) -> Adaptation:
    """What the method changes about the image encoder, at the configured sizes.

    Args:
        config: the whole configuration.

    Example:
        >>> adaptation(Config(method="ifa")).adapters.cfaa
        False
    """
    method = METHODS[config.method]
    adapters: dict[str, Adapters] = {
        "ifa": replace(config.adapters, ifa=True, cfaa=False),
        "vsla": replace(config.adapters, ifa=True, cfaa=True),
        "lora": config.lora,
        "adaptformer": config.adaptformer,
        "vpt": config.vpt,
        "ia3": IA3Config(),
    }
    return Adaptation(adapters.get(method.tune), config.pbp if method.pbp else None, method.tune == "all")


def describing(config: Config) -> Stage1Config:
    """Stage one's settings, with the batch of all devices.

    Args:
        config: the whole configuration.

    Example:
        >>> describing(Config()).batch
        64
    """
    settings = config.stage1
    devices = ranks(config.runtime)[1] if settings.batch_per_device else 1
    return replace(settings, batch=devices * settings.batch, batch_per_device=False)


def tuning(config: Config) -> Stage2Config:
    """Stage two's settings as the method takes them: one learning rate, no loss that it hasn't, all devices'
    identities.

    Args:
        config: the whole configuration.

    Example:
        >>> tuning(Config(method="ft_clip")).train.lr
        5e-06
    """
    settings, method = config.stage2, METHODS[config.method]
    lr = settings.full_lr if method.tune == "all" else settings.train.lr
    losses = settings.losses
    if not method.semantic:
        losses = replace(losses, v2sce=0.0, i2t=0.0, t2i=0.0, scale=None)
    devices = ranks(config.runtime)[1] if settings.batch_per_device else 1
    return replace(
        settings,
        identities=devices * settings.identities,
        batch_per_device=False,
        train=replace(settings.train, lr=lr),
        full_lr=lr,
        losses=losses,
    )
