"""What pre-training's and unsupervised learning's recipes have in common; no torch is imported here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from reid_core.options import Options
from reid_core.training.config import Augmentation, Training

Size = tuple[int, int]
TEST_SPLITS = ("query", "gallery")
LABELLED_SPLITS = ("train", *TEST_SPLITS)


@dataclass
class Network:
    """A backbone."""

    backbone: str = "resnet50_ibn"
    """Any that `reid-models list` prints (ReIDZoo's 32), or a name of timm's."""
    options: Options = field(default_factory=dict)
    """Options of the backbone's constructor, such as pool: gem."""
    image_size: Size = (256, 128)
    """Height and width of an image, and of a global view (CION 4.1)."""


@dataclass
class FinetuneConfig:
    """Supervised fine-tuning."""

    method: Literal["bag_of_tricks", "transreid", "mgn"] = "bag_of_tricks"
    """Luo et al. 2019; TransReID, with its jigsaw on ViTs with a class token and the global feature alone on
    other backbones; or MGN on a ResNet."""
    identities: int = 16
    """P, identities per batch over all ranks (Hermans et al. 2017)."""
    instances: int = 4
    """K, images per identity."""
    margin: float | None = 0.3
    """Margin of the triplet loss; null for the soft margin (TransReID)."""
    normalize: bool = False
    """Whether bag of tricks' triplet loss compares features of unit length."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    train: Training = field(
        default_factory=lambda: Training(epochs=120.0, warmup_epochs=10.0, lr=3.5e-4, min_lr=1e-6)
    )
    """Length and optimiser (Luo et al. 2019: 120 epochs, 10 of warm-up)."""


@dataclass
class EvaluateConfig:
    """Retrieval of the target's test people."""

    protocol: str | None = None
    """Gallery rows that count, by a data set's name (reid_eval.PROTOCOLS); null for the target's own."""
    flip: bool = False
    """Whether a descriptor is the mean of that of the image and that of its mirror image."""
