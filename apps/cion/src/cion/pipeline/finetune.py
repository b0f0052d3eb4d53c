"""Supervised fine-tuning of a backbone by bag of tricks, TransReID or MGN."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cion.pipeline.config import Finetune, Network, RunConfig, on_machine
from reid_core.data.datasets import ImageDataset, collate, seeded
from reid_core.data.manifest import Manifest
from reid_core.data.samplers import PKBatches
from reid_core.data.transforms import train_transform
from reid_core.models.backbones import CNNEncoder, Encoder, ViTEncoder, build_backbone
from reid_core.models.heads import ReIDModel, ReIDObjective
from reid_core.models.parts import (
    BranchedModel,
    BranchedObjective,
    ClassFeature,
    MGNExtractor,
    TransReIDExtractor,
)
from reid_core.models.weights import load_weights
from reid_core.processes import ranks
from reid_core.training.checkpoints import read_checkpoint
from reid_core.training.loop import fit
from reid_core.training.protocols import Logger


class FineTuned(nn.Module):
    """A backbone with the head of a fine-tuning method; called on images [b 3 h w], it returns descriptors.

    Args:
        encoder: the backbone.
        model: the backbone with its head, as reid-core's objectives take it.
    """

    def __init__(self, encoder: Encoder, model: ReIDModel | BranchedModel) -> None:
        super().__init__()
        self.model = model
        object.__setattr__(self, "encoder", encoder)  # it is the model's: not a second time in the state

    encoder: Encoder

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)


def build_reid(network: Network, settings: Finetune, identities: int, seed: int) -> FineTuned:
    """A randomly initialised backbone with its head, a function of the seed.

    Args:
        network: the backbone.
        settings: of the fine-tuning.
        identities: of the training set.
        seed: of the weights.

    Returns:
        The model.

    Raises:
        ValueError: an unknown backbone, or MGN of another one than a ResNet.

    Example:
        >>> import torch
        >>> network = Network("vit_nano_patch8", {"depth": 2}, image_size=(64, 32))
        >>> build_reid(network, Finetune("transreid"), 5, seed=0)(torch.zeros(2, 3, 64, 32)).shape
        torch.Size([2, 640])
    """
    with seeded(seed):
        encoder = build_backbone(network.backbone, network.image_size, **network.options)
        return FineTuned(encoder, _with_head(encoder, settings.method, identities))


def _with_head(encoder: Encoder, method: str, identities: int) -> ReIDModel | BranchedModel:
    if method == "mgn":
        if not isinstance(encoder, CNNEncoder):
            raise ValueError("finetune.method=mgn takes a ResNet: choose a resnet* backbone")
        return BranchedModel(MGNExtractor(encoder), identities)
    if method == "transreid" and isinstance(encoder, ViTEncoder) and encoder.has_class_token:
        return BranchedModel(TransReIDExtractor(encoder), identities)
    return ReIDModel(ClassFeature(encoder), encoder.dim, identities)


def finetune(
    config: RunConfig,
    network: Network,
    settings: Finetune,
    target: Manifest,
    weights: Path | None,
    folder: Path,
    logger: Logger | None = None,
) -> dict[str, Any]:
    """Train on labelled images.

    Args:
        config: the whole configuration, for the seed and the machine.
        network: the backbone.
        settings: of the fine-tuning.
        target: the manifest; the labelled rows of its train split count.
        weights: checkpoint of the backbone; None begins with random weights. The head is the same draw.
        folder: the stage's folder; gets final.pt.
        logger: gets the metrics; None logs nothing.

    Returns:
        The numbers of images, identities and steps.

    Raises:
        ValueError: a checkpoint of another backbone, or fewer identities than a batch needs.
    """
    rows = target.select("train")
    rows = rows.where(rows.pids >= 0)
    pids = rows.pids.tolist()
    model = build_reid(network, settings, len(set(pids)), config.seed)
    if weights is not None and settings.method == "mgn":  # MGN has copied the backbone's last stages
        fresh = build_backbone(network.backbone, network.image_size, **network.options)
        load_weights(fresh, weights)
        with seeded(config.seed):
            model = FineTuned(fresh, _with_head(fresh, settings.method, len(set(pids))))
    elif weights is not None:
        load_weights(model.encoder, weights)
    objective: nn.Module
    if isinstance(model.model, ReIDModel):
        objective = ReIDObjective(model.model, pids, margin=settings.margin, normalize=settings.normalize)
    else:
        objective = BranchedObjective(model.model, pids, margin=settings.margin)
    train = on_machine(settings.train, config.machine)
    steps = train.steps * train.accumulate
    batches = PKBatches(
        rows.pids, settings.identities, settings.instances, steps, config.seed, *ranks(config.machine)
    )
    about = settings.augmentation
    transform = train_transform(
        network.image_size, padding=about.padding, erasing=about.erasing, jitter=about.jitter
    )
    fit(objective, ImageDataset(rows, transform), batches, collate, train, folder, config.seed, logger)
    return {"images": len(rows), "identities": len(set(pids)), "steps": train.steps}


def load_reid(network: Network, settings: Finetune, file: Path) -> FineTuned:
    """What a fine-tuning ended with.

    Args:
        network: the backbone.
        settings: of the fine-tuning.
        file: its final.pt.

    Returns:
        The model, in eval mode.
    """
    state = read_checkpoint(file)["state_dict"]
    weights = {name: value for name, value in state.items() if name.startswith("model.")}
    classifier = next(name for name in weights if name.endswith("classifier.weight"))
    model = build_reid(network, settings, len(weights[classifier]), seed=0)
    model.load_state_dict(weights)
    return model.eval()
