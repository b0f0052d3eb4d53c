"""A backbone with the head of a fine-tuning method, and its portable model folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from torch import Tensor, nn

from cion.config import FinetuneConfig, Network, Size
from reid_core.data.datasets import seed_torch
from reid_core.models.backbones import CNNEncoder, Encoder, ViTEncoder, build_backbone
from reid_core.models.folder import read_folder, save
from reid_core.models.heads import ReIDModel, ReIDObjective
from reid_core.models.parts import (
    BranchedModel,
    BranchedObjective,
    CircleMGNObjective,
    ClassFeature,
    MGNExtractor,
    TransReIDExtractor,
)
from reid_core.models.preprocessing import Preprocessing
from reid_core.models.weights import load_weights
from reid_core.processes import process_rank

MODEL_FOLDER = "model"
"""In each training stage's folder; for `reid_core.models.load`."""
LICENSE = "unknown"
"""Of weights: they carry the terms of their data, which the user knows."""


def build_reid(
    network: Network,
    settings: FinetuneConfig,
    identities: int,
    seed: int,
    weights: Path | None = None,
    weights_size: Size | None = None,
    camids: Sequence[int] | None = None,
) -> ReIDModel | BranchedModel:
    """A backbone with its head, randomly initialised but for the backbone's weights; a function of the seed.

    Args:
        network: the backbone.
        settings: of the fine-tuning: its method says what the head is.
        identities: of the training set; 0 for no classifier.
        seed: of the weights.
        weights: checkpoint of the backbone; it is read before the head copies parts of the backbone.
        weights_size: height and width of the images that the checkpoint was made with, where they are known.
        camids: cameras of the training images, for TransReID's side information; None for none.

    Returns:
        The model.

    Raises:
        ValueError: an unknown backbone, a checkpoint of another one, or MGN of another one than a ResNet.

    Example:
        >>> import torch
        >>> network = Network("vit_nano_patch8", {"depth": 2}, image_size=(64, 32))
        >>> build_reid(network, FinetuneConfig(method="transreid"), 5, seed=0)(
        ...     torch.zeros(2, 3, 64, 32)
        ... ).shape
        torch.Size([2, 640])
    """
    with seed_torch(seed):
        encoder = build_backbone(network.backbone, network.image_size, **network.options)
        if weights is not None:
            grid = None
            if weights_size is not None and isinstance(encoder, ViTEncoder):
                grid = encoder.grid(weights_size)
            report = load_weights(encoder, weights, grid=grid)
            Console(stderr=True, quiet=process_rank() > 0).print(str(report), highlight=False, soft_wrap=True)
        return _add_head(encoder, settings, identities, camids)


def _add_head(
    encoder: Encoder, settings: FinetuneConfig, identities: int, camids: Sequence[int] | None
) -> ReIDModel | BranchedModel:
    if settings.method in ("mgn", "fastreid_mgn") and not settings.side_information:
        if not isinstance(encoder, CNNEncoder):
            raise ValueError(f"finetune.method={settings.method} takes a ResNet: choose a resnet* backbone")
        form: Literal["paper", "fastreid"] = "paper" if settings.method == "mgn" else "fastreid"
        return BranchedModel(MGNExtractor(encoder, form), identities)
    if settings.method == "transreid" and isinstance(encoder, ViTEncoder) and encoder.has_class_token:
        extractor = TransReIDExtractor(encoder, camids, shift=settings.jigsaw_shift)
        return BranchedModel(extractor, identities, settings.descriptor)
    if settings.side_information:
        raise ValueError("finetune.side_information goes with method=transreid and a ViT with a class token")
    return ReIDModel(ClassFeature(encoder), encoder.dim, identities, settings.descriptor)


def build_objective(
    model: ReIDModel | BranchedModel, pids: Sequence[int], settings: FinetuneConfig, steps_per_epoch: int
) -> nn.Module:
    """The losses of a fine-tuning method.

    Args:
        model: as `build_reid` makes it.
        pids: person ids of the training images.
        settings: of the fine-tuning.
        steps_per_epoch: of its sampler.
    """
    smoothing, margin = settings.label_smoothing, settings.margin
    if isinstance(model, ReIDModel):
        return ReIDObjective(model, pids, smoothing, margin, settings.normalize)
    if settings.method == "fastreid_mgn":
        frozen = round(settings.frozen_epochs * steps_per_epoch)
        return CircleMGNObjective(model, pids, smoothing, margin, frozen)
    return BranchedObjective(model, pids, smoothing, margin)


def save_network(
    stage: Path,
    model: ReIDModel | BranchedModel | ClassFeature,
    network: Network,
    training_data: Sequence[str],
    digest: str = "",
    preprocessing: Preprocessing | None = None,
    name: str = MODEL_FOLDER,
    license: str = LICENSE,
) -> None:
    """Write the model folder of what a training ended with.

    Args:
        stage: the training's folder.
        model: as `build_reid` makes it, or a backbone's class token.
        network: the backbone that it was built of.
        training_data: what it was trained on.
        digest: of the training.
        preprocessing: of its images; None for ImageNet's normalisation.
        name: of the model folder.
        license: of the weights.
    """
    builder, arguments = _describe_model(model)
    backbone = {"backbone": network.backbone, "image_size": network.image_size, "options": network.options}
    save(
        stage / name,
        model if isinstance(model, ClassFeature) else model.without_classifier(),
        builder,
        backbone | arguments,
        preprocessing or Preprocessing(network.image_size),
        training_data=training_data,
        license=license,
        digest=digest,
    )


def _describe_model(model: ReIDModel | BranchedModel | ClassFeature) -> tuple[str, dict[str, Any]]:
    """Name of what builds a model for a model folder, and its arguments beside the backbone's."""
    if isinstance(model, ClassFeature):
        return "backbone", {}
    extractor = model.extractor
    if isinstance(extractor, MGNExtractor):
        return "mgn", {"form": "paper" if extractor.pools is None else "fastreid"}
    arguments: dict[str, Any] = {"descriptor": model.descriptor}
    if not isinstance(extractor, TransReIDExtractor):
        return "bnneck", arguments
    arguments["camids"] = None if extractor.camids is None else extractor.camids.tolist()
    if extractor.jigsaw is not None:
        arguments["shift"] = extractor.jigsaw.shift
    return "transreid", arguments


def read_network(folder: Path) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """A model that an earlier stage has left, and the transform of its images, from uint8 [3 h w].

    Args:
        folder: as `save_network` writes it.
    """
    model, about = read_folder(folder)
    return model, partial(feed, about.preprocessing)


def feed(seen: Preprocessing, image: Tensor) -> Tensor:
    """An image as a model takes it.

    Args:
        seen: what is done to it.
        image: uint8 [3 h w], RGB.

    Returns:
        float32 [3 H W].
    """
    return seen.normalise(seen.resize(image))
