"""Settings of `cion unsupervised` beside those of every recipe; its `run --help` prints them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from cion.config import LABELLED_SPLITS, TARGET, EvaluateConfig, FinetuneConfig, Network
from cion.published import cluster_contrast
from reid_core.options import Options
from reid_core.recipe.config import RecipeConfig, override
from reid_core.recipe.sources import Source, Sources, Synthetic
from reid_core.training.config import Augmentation, Training
from reid_core.training.unsupervised.config import ClusterContrastConfig

SOURCE = "data.source"
"""Name of the labelled source that is learned from first."""


@dataclass
class DataConfig:
    """Where images come from."""

    root: str = ""
    """Folder for each source that names none of its own."""
    target: Source = field(default_factory=lambda: Source("market1501"))
    """What is learned from without labels, and tested on."""
    source: Source | None = None
    """Labelled data that is learned from first (UDA); null learns from the target alone (USL)."""
    synthetic: Synthetic | None = None
    """Write a synthetic world first; a source without a root that has the name of a layout reads it."""


@dataclass
class Model(Network):
    """The network: a backbone with a batch norm behind it (Luo et al., CVPRW 2019)."""

    weights: str | None = None
    """Checkpoint file of the backbone, such as CION's ({backbone} in it is the backbone's name); null begins
    with random weights."""
    per_image: bool = False
    """Whether each image's channels are brought to mean 0 and standard deviation 1, which removes much of
    what differs between cameras; not for published weights, which were trained on other images."""


@dataclass
class Config(RecipeConfig):
    """A run of unsupervised learning."""

    experiment: str = "cion_unsupervised"
    """MLflow experiment, and folder below runs."""
    recipe: Literal["released"] | None = None
    """CION's settings of Cluster Contrast for the target, in place of `clusters` and `train` below; null for
    those of its published code."""
    changes: Options = field(default_factory=dict)
    """Departures from the recipe, by dotted name, such as clusters.rounds: 10."""
    data: DataConfig = field(default_factory=DataConfig)
    model: Model = field(default_factory=Model)
    supervised: FinetuneConfig = field(default_factory=FinetuneConfig)
    """Supervised training on the labelled source, with which UDA begins."""
    clusters: ClusterContrastConfig = field(default_factory=ClusterContrastConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)
    """Augmentation of the target's training images."""
    train: Training = field(default_factory=lambda: Training(steps=200, lr=3.5e-4, weight_decay=5e-4))
    """One round's length and optimiser (Cluster Contrast's code: 200 steps at 3.5e-4)."""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)


def sources(config: Config) -> Sources:
    """The target and the source, each by its dotted name.

    Args:
        config: the whole configuration.

    Example:
        >>> list(sources(Config(data=DataConfig(source=Source("msmt17")))).by_name)
        ['data.target', 'data.source']
    """
    data = config.data
    named = {TARGET: data.target}
    needed: dict[str, tuple[str, ...]] = {TARGET: LABELLED_SPLITS}
    if data.source is not None:
        named[SOURCE], needed[SOURCE] = data.source, ("train",)
    return Sources(named, data.root, data.synthetic, needed)


def resolve_clusters(config: Config) -> Config:
    """A configuration with its recipe looked up.

    Args:
        config: the whole configuration.

    Raises:
        ValueError: settings or changes that have no effect beside or without a recipe, or unknown ones.

    Example:
        >>> released = resolve_clusters(Config(recipe="released", changes={"clusters.rounds": 2}))
        >>> released.clusters.instances, released.clusters.rounds, released.train.optimizer
        (8, 2, 'sgd')
    """
    if config.recipe is None:
        if config.changes:
            raise ValueError("changes depart from a recipe: give recipe, or set them directly")
        return config
    for name in ("clusters", "train"):
        if getattr(config, name) != getattr(Config(), name):
            raise ValueError(f"{name} has no effect beside recipe={config.recipe}: give it in changes")
    target = sources(config).reader(TARGET)
    return override(config, cluster_contrast(config.model.backbone, target) | config.changes)
