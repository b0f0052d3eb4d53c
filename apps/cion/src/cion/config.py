"""Everything that `cion` can be told, typed; `cion unsupervised --help` prints it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reid_core.training.config import TrainConfig
from reid_core.training.unsupervised import ClusterContrastConfig

Size = tuple[int, int]


@dataclass
class Synthetic:
    """A synthetic world that is written as Market-1501 into the run folder first, in place of a root."""

    world: dict[str, Any] = field(default_factory=dict)
    """Dials of reid_core.synthetic.World: identities, cameras, seed, height, width, ..."""
    layout: dict[str, Any] = field(default_factory=dict)
    """Options of reid_core.synthetic.write_market1501: train_identities, images_per_camera, ..."""


@dataclass
class Data:
    """A data set on disk, or a synthetic world."""

    name: str = "market1501"
    """Reader, as `reid-data list` prints them."""
    root: str = ""
    """Folder of the data set as released."""
    options: dict[str, Any] = field(default_factory=dict)
    """The reader's own options, such as train_fraction and seed of pku_reid."""
    synthetic: Synthetic | None = None
    """Write this world and read it."""


@dataclass
class Model:
    """The network: a backbone with a batch norm behind it (Luo et al., CVPRW 2019)."""

    backbone: str = "resnet50_ibn"
    """Any that `reid-models list` prints (ReIDZoo's 32), or a name of timm's."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the backbone's constructor, such as pool: gem."""
    weights: str | None = None
    """Checkpoint of the backbone, such as CION's; null begins with random weights."""
    image_size: Size = (256, 128)
    """Height and width in pixels."""
    per_image: bool = False
    """Whether each image's channels are brought to mean 0 and deviation 1, which takes away much of what
    cameras differ in; not for published weights, which have seen other images."""


@dataclass
class Augmentation:
    """Of training images; flips besides."""

    padding: int = 10
    """Zeros around an image before it is cropped (Luo et al. 2019: 10 pixels for 256x128)."""
    erasing: float = 0.5
    """Probability of random erasing (Zhong et al. 2017)."""
    jitter: tuple[float, float, float, float] | None = None
    """Brightness, contrast, saturation and hue; null for none."""


@dataclass
class SourceTraining:
    """Supervised training on the labelled source, with which UDA begins."""

    identities: int = 16
    """P, identities a batch (Hermans et al. 2017)."""
    instances: int = 4
    """K, images an identity."""
    margin: float | None = 0.3
    """Margin of the triplet loss; null for the soft margin."""
    normalize: bool = False
    """Whether the triplet loss compares features of unit length."""
    train: TrainConfig = field(default_factory=lambda: TrainConfig(steps=10_000))
    """Length and optimiser."""


@dataclass
class Evaluation:
    """Retrieval of the target's test people."""

    protocol: str = "market1501"
    """Gallery rows that count, by data set (reid_eval.PROTOCOLS): market1501 and msmt17 leave out the query's
    person in its own camera, pku_reid that whole camera."""
    flip: bool = False
    """Whether a descriptor is the mean of that of the image and that of its mirror image."""
    batch_size: int = 128
    """Images at a time."""


@dataclass
class Config:
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
    target: Data = field(default_factory=Data)
    """What is learned from without labels, and tested on."""
    source: Data | None = None
    """Labelled data that is learned from first (UDA); null learns from the target alone (USL)."""
    model: Model = field(default_factory=Model)
    augmentation: Augmentation = field(default_factory=Augmentation)
    supervised: SourceTraining = field(default_factory=SourceTraining)
    clusters: ClusterContrastConfig = field(default_factory=ClusterContrastConfig)
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(steps=200, lr=3.5e-4, warmup_steps=0, weight_decay=5e-4)
    )
    """One round's length and optimiser (Cluster Contrast's code: 200 steps at 3.5e-4)."""
    evaluate: Evaluation = field(default_factory=Evaluation)

    @property
    def folder(self) -> Path:
        """The run folder, runs/EXPERIMENT/NAME."""
        return Path(self.runs) / self.experiment / self.name


def check(config: Config) -> None:
    """Refuse what can be seen to be wrong before anything is written or trained.

    Args:
        config: the whole configuration.

    Raises:
        ValueError: a setting that can't work; the message names it.
        FileNotFoundError: a root or checkpoint that isn't there.

    Example:
        >>> check(Config())
        Traceback (most recent call last):
        ValueError: target.root is empty: give the folder of market1501
    """
    from reid_eval import find_protocol  # this module is imported for --help too, which needs no torch

    find_protocol(config.evaluate.protocol)
    for name, data in (("target", config.target), ("source", config.source)):
        if data is None or data.synthetic is not None:
            continue
        if not data.root:
            raise ValueError(f"{name}.root is empty: give the folder of {data.name}")
        if not Path(data.root).is_dir():
            raise FileNotFoundError(f"{name}.root: there is no folder {data.root}; give that of {data.name}")
    weights = config.model.weights
    if weights is not None and not Path(weights).is_file():
        raise FileNotFoundError(f"model.weights: there is no file {weights}; give a backbone's checkpoint")
    for name, train in (("train", config.train), ("supervised.train", config.supervised.train)):
        if train.devices != 1 or train.num_nodes != 1:
            raise ValueError(f"{name}.devices and num_nodes: this command runs on one device; give 1")
