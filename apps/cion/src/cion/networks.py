"""A backbone with the head of a fine-tuning method, and its portable model folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from cion.config import Network
from reid_core.data.datasets import seeded
from reid_core.models.backbones import CNNEncoder, Encoder, ViTEncoder, build_backbone
from reid_core.models.folder import save
from reid_core.models.heads import ReIDModel
from reid_core.models.parts import BranchedModel, ClassFeature, MGNExtractor, TransReIDExtractor
from reid_core.models.preprocessing import Preprocessing
from reid_core.models.weights import load_weights
from reid_core.processes import process_rank

MODEL_FOLDER = "model"
"""In each training stage's folder; for `reid_core.models.load`."""
LICENSE = "unknown"
"""Of weights: they carry the terms of their data, which the user knows."""


def build_reid(
    network: Network, method: str, identities: int, seed: int, weights: Path | None = None
) -> ReIDModel | BranchedModel:
    """A backbone with its head, randomly initialised but for the backbone's weights; a function of the seed.

    Args:
        network: the backbone.
        method: bag_of_tricks, transreid or mgn.
        identities: of the training set; 0 for no classifier.
        seed: of the weights.
        weights: checkpoint of the backbone; it is read before the head copies parts of the backbone.

    Returns:
        The model.

    Raises:
        ValueError: an unknown backbone, a checkpoint of another one, or MGN of another one than a ResNet.

    Example:
        >>> import torch
        >>> network = Network("vit_nano_patch8", {"depth": 2}, image_size=(64, 32))
        >>> build_reid(network, "transreid", 5, seed=0)(torch.zeros(2, 3, 64, 32)).shape
        torch.Size([2, 640])
    """
    with seeded(seed):
        encoder = build_backbone(network.backbone, network.image_size, **network.options)
        if weights is not None:
            report = load_weights(encoder, weights)
            Console(stderr=True, quiet=process_rank() > 0).print(str(report), highlight=False, soft_wrap=True)
        return _add_head(encoder, method, identities)


def _add_head(encoder: Encoder, method: str, identities: int) -> ReIDModel | BranchedModel:
    if method == "mgn":
        if not isinstance(encoder, CNNEncoder):
            raise ValueError("finetune.method=mgn takes a ResNet: choose a resnet* backbone")
        return BranchedModel(MGNExtractor(encoder), identities)
    if method == "transreid" and isinstance(encoder, ViTEncoder) and encoder.has_class_token:
        return BranchedModel(TransReIDExtractor(encoder), identities)
    return ReIDModel(ClassFeature(encoder), encoder.dim, identities)


def save_network(
    stage: Path,
    model: ReIDModel | BranchedModel | ClassFeature,
    network: Network,
    training_data: Sequence[str],
    digest: str = "",
    per_image: bool = False,
    name: str = MODEL_FOLDER,
) -> None:
    """Write the model folder of what a training ended with.

    Args:
        stage: the training's folder.
        model: as `build_reid` makes it, or a backbone's class token.
        network: the backbone that it was built of.
        training_data: what it was trained on.
        digest: of the training.
        per_image: whether each image's channels are brought to mean 0 and deviation 1.
        name: of the model folder.
    """
    builder = "backbone"
    if not isinstance(model, ClassFeature):
        heads = {MGNExtractor: "mgn", TransReIDExtractor: "transreid"}
        builder, model = heads.get(type(model.extractor), "bnneck"), model.without_classifier()
    arguments = {
        "backbone": network.backbone,
        "image_size": network.image_size,
        "options": network.options,
    }
    save(
        stage / name,
        model,
        builder,
        arguments,
        Preprocessing(network.image_size, per_image=per_image),
        training_data=training_data,
        license=LICENSE,
        digest=digest,
    )
