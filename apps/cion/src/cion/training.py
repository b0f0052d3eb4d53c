"""The network and its two trainings: with the source's labels, and on the target without labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from cion.config import Config
from reid_core.data.datasets import ImageDataset, collate, seeded
from reid_core.data.manifest import Manifest
from reid_core.data.samplers import PKBatches
from reid_core.data.transforms import eval_transform, train_transform
from reid_core.models.backbones import build_backbone
from reid_core.models.heads import ReIDModel, ReIDObjective
from reid_core.models.parts import ClassFeature
from reid_core.models.weights import load_weights
from reid_core.training.checkpoints import read_checkpoint, write_checkpoint
from reid_core.training.config import TrainConfig
from reid_core.training.loop import FINAL, fit
from reid_core.training.protocols import Logger
from reid_core.training.unsupervised import train_clusters


def build_model(config: Config, identities: int = 1) -> ReIDModel:
    """The network as a run begins with it: random but for `model.weights`, a function of the seed.

    Args:
        config: the whole configuration.
        identities: the source's. Cluster Contrast has no classifier, so the one class of USL is never used.

    Returns:
        The model.

    Example:
        >>> from cion.config import Model
        >>> config = Config(model=Model("vit_nano_patch8", {"depth": 1}, image_size=(32, 16)))
        >>> build_model(config).dim
        128
    """
    settings = config.model
    with seeded(config.seed):
        encoder = build_backbone(settings.backbone, settings.image_size, **settings.options)
        model = ReIDModel(ClassFeature(encoder), encoder.dim, identities)
    if settings.weights is not None:
        print(load_weights(encoder, settings.weights))
    return model


def load_model(file: Path, model: ReIDModel) -> ReIDModel:
    """Fill a model with what a training ended with.

    Args:
        file: final.pt of a training's folder.
        model: as `build_model` gives it.

    Returns:
        The model.
    """
    state, prefix = read_checkpoint(file)["state_dict"], "model."
    weights = {name.removeprefix(prefix): state[name] for name in state if name.startswith(prefix)}
    model.load_state_dict(weights)
    return model


def labelled(manifest: Manifest) -> Manifest:
    """The training images whose person is known.

    Args:
        manifest: the source.
    """
    train = manifest.select("train")
    return train.where(train.pids >= 0)


def count_identities(manifest: Manifest) -> int:
    """The number of people in `labelled(manifest)`.

    Args:
        manifest: the source.
    """
    return len(set(labelled(manifest).pids.tolist()))


def train_source(
    config: Config, source: Manifest, folder: Path, logger: Logger | None = None
) -> dict[str, Any]:
    """Train on the source with its labels, as Luo et al. (CVPRW 2019): BNNeck, label smoothing, triplets.

    Args:
        config: the whole configuration.
        source: its manifest.
        folder: the stage's folder; gets final.pt.
        logger: gets the metrics; None logs nothing.

    Returns:
        The numbers of images and identities.

    Raises:
        ValueError: fewer identities than a batch needs.
    """
    settings, train = config.supervised, labelled(source)
    model = build_model(config, count_identities(source))
    objective = ReIDObjective(
        model, train.pids.tolist(), margin=settings.margin, normalize=settings.normalize
    )
    batches = PKBatches(
        train.pids,
        settings.identities,
        settings.instances,
        settings.train.steps * settings.train.accumulate,
        config.seed,
    )
    dataset = ImageDataset(train, _train_transform(config))
    fit(objective, dataset, batches, collate, settings.train, folder, config.seed, logger)
    return {"images": len(train), "identities": model.num_classes}


def train_target(
    config: Config,
    target: Manifest,
    model: ReIDModel,
    rounds: Path,
    folder: Path,
    logger: Logger | None = None,
) -> dict[str, Any]:
    """Learn from the target's training images by Cluster Contrast; their pids aren't looked at.

    Args:
        config: the whole configuration.
        target: its manifest.
        model: with the weights to begin with; it holds the final ones afterwards.
        rounds: folder of the rounds. It is beside the stage's, for more rounds go on after those there are.
        folder: the stage's folder; gets final.pt.
        logger: gets the metrics; None logs nothing.

    Returns:
        Numbers of clusters and outliers in the last round.

    Raises:
        ValueError: too few images, or a round without two clusters; the message says what to change.
    """
    model.classifier.requires_grad_(False)  # nothing to learn here, nor anything for weight decay to shrink
    found = train_clusters(
        model,
        target.select("train"),
        _train_transform(config),
        eval_transform(config.model.image_size, per_image=config.model.per_image),
        rounds,
        config.clusters,
        config.train,
        config.seed,
        repr((config.augmentation, config.model)),
        logger,
    )
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    write_checkpoint({"state_dict": state, "step": len(found) * config.train.steps}, folder / FINAL)
    return found[-1]


def decisive(train: TrainConfig) -> TrainConfig:
    """A training's settings without those that don't change its result, for fingerprints.

    Args:
        train: the settings.

    Example:
        >>> decisive(TrainConfig(log_every=1)) == decisive(TrainConfig(log_every=9, workers=4))
        True
    """
    return replace(train, workers=0, checkpoint_every=1, log_every=1)


def _train_transform(config: Config) -> Any:
    model, about = config.model, config.augmentation
    return train_transform(
        model.image_size,
        padding=about.padding,
        erasing=about.erasing,
        jitter=about.jitter,
        per_image=model.per_image,
    )
