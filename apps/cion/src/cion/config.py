"""What pre-training's and unsupervised learning's recipes have in common; no torch is imported here."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Literal

from cion.published import finetuning
from reid_core.options import Options
from reid_core.recipe.config import override
from reid_core.training.config import Augmentation, Training

Size = tuple[int, int]
Channels = tuple[float, float, float]
Recipe = Literal["bag_of_tricks", "transreid", "mgn", "released", "released_mgn"]
BACKBONE = "{backbone}"
"""In a checkpoint's path: stands for the backbone's name."""
TARGET = "data.target"
"""Name of the source that is fine-tuned and evaluated on."""
TEST_SPLITS = ("query", "gallery")
LABELLED_SPLITS = ("train", *TEST_SPLITS)


@dataclass
class Network:
    """A backbone."""

    backbone: str = "resnet50_ibn"
    """Backbone by name: any that `reid-models list` prints (ReIDZoo's 32), or one of timm's."""
    options: Options = field(default_factory=dict)
    """Options of the backbone's constructor, such as pool: gem."""
    image_size: Size = (256, 128)
    """Height and width of an image and of a global view, in pixels (CION 4.1: 256x128)."""


@dataclass
class FinetuneConfig:
    """Supervised fine-tuning."""

    recipe: Recipe | None = None
    """Published settings, those of the model and target, in place of all below: bag_of_tricks (Luo et al.
    2019), transreid (He et al. 2021; side_information by changes), mgn (Wang et al. 2018), released (CION's
    configurations in TransReID's framework) or released_mgn (its MGN in fast-reid's form)."""
    changes: Options = field(default_factory=dict)
    """Departures from the recipe, by dotted name, such as train.epochs: 10."""
    method: Literal["bag_of_tricks", "transreid", "mgn", "fastreid_mgn"] = "bag_of_tricks"
    """The global feature behind a neck (Luo et al. 2019); TransReID, with its jigsaw on ViTs with a class
    token and the global feature alone on other backbones; or MGN on a ResNet, in the paper's or fast-reid's
    form."""
    image_size: Size | None = None
    """Height and width in pixels; null for the pre-training's (CION's MGN: 384x128)."""
    identities: int = 16
    """P, identities per batch over all ranks (Luo et al. 2019: 16)."""
    instances: int = 4
    """K, images per identity in a batch (Luo et al. 2019: 4)."""
    margin: float | None = 0.3
    """Margin of the triplet loss, in the features' distance (Luo et al. 2019: 0.3); null for the soft margin
    (TransReID)."""
    label_smoothing: float = 0.1
    """Share of the target that is spread over all classes, from 0 to 1 (Luo et al. 2019: 0.1)."""
    normalize: bool = False
    """Whether bag of tricks' triplet loss compares features of unit length."""
    descriptor: Literal["after", "before"] = "after"
    """Whether the global feature after the neck or before it (TransReID) is compared in retrieval."""
    jigsaw_shift: int = 5
    """Patches that TransReID's jigsaw moves to the end (the paper's 5; the released code's 4)."""
    side_information: bool = False
    """Whether a learned vector of the image's camera, times 3.0, is added to TransReID's tokens (He et al.
    2021, eq. 6 and section 4.2); test images must come from the training's cameras."""
    frozen_epochs: float = 0.0
    """First epochs in which the backbone does not learn, with fastreid_mgn (CION's release: 10)."""
    mean: Channels = (0.485, 0.456, 0.406)
    """Mean of each channel, of pixels from 0 to 1 (ImageNet's; TransReID: 0.5)."""
    std: Channels = (0.229, 0.224, 0.225)
    """Standard deviation of each channel, of pixels from 0 to 1 (ImageNet's; TransReID: 0.5)."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    train: Training = field(
        default_factory=lambda: Training(epochs=120.0, warmup_epochs=10.0, lr=3.5e-4, min_lr=1e-6)
    )
    """Length and optimiser (Luo et al. 2019: 120 epochs, 10 of warm-up). An epoch is a pass of the sampler,
    in which each identity has its images in groups of K."""


def resize(network: Network, settings: FinetuneConfig) -> Network:
    """A network at the image size of its fine-tuning.

    Args:
        network: as it is pre-trained.
        settings: of the fine-tuning.

    Example:
        >>> resize(Network("resnet18"), FinetuneConfig(image_size=(384, 128))).image_size
        (384, 128)
    """
    return replace(network, image_size=settings.image_size or network.image_size)


def resolve(settings: FinetuneConfig, backbone: str, target: str) -> FinetuneConfig:
    """Settings with their recipe looked up.

    Args:
        settings: of the fine-tuning.
        backbone: name of the network that is fine-tuned.
        target: reader of the target.

    Returns:
        Settings without a recipe.

    Raises:
        ValueError: settings or changes that have no effect beside or without a recipe, or unknown ones.

    Example:
        >>> resolve(FinetuneConfig("released", {"train.epochs": 10.0}), "vit_small", "market1501").train.lr
        0.0032
    """
    if settings.recipe is None:
        if settings.changes:
            raise ValueError(
                "finetune.changes depart from a recipe: give finetune.recipe, or set them directly"
            )
        return settings
    plain = FinetuneConfig(settings.recipe, settings.changes)
    other = [name.name for name in fields(plain) if getattr(plain, name.name) != getattr(settings, name.name)]
    if other:
        raise ValueError(
            f"finetune.{other[0]} has no effect beside finetune.recipe={settings.recipe}: give it in "
            "finetune.changes, by its dotted name"
        )
    found = finetuning(settings.recipe, backbone, target) | settings.changes
    return override(FinetuneConfig(), found)


@dataclass
class EvaluateConfig:
    """Retrieval of the target's test people."""

    protocol: str | None = None
    """Gallery rows that count, by a data set's name (`reid-eval run --help` lists them); null for the
    target's own."""
    flip: bool = False
    """Whether a descriptor is the mean of that of the image and that of its mirror image."""
