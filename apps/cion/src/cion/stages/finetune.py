"""Supervised fine-tuning of a backbone by bag of tricks, TransReID or MGN."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from torch import nn

from cion.config import Augmentation, FinetuneConfig, Network, Size
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
from reid_core.processes import process_rank, ranks
from reid_core.recipe import Job
from reid_core.recipe.rows import PREPARE
from reid_core.training.checkpoints import read_checkpoint
from reid_core.training.loop import fit

BACKBONE_FILE = "backbone.safetensors"
"""What a pre-training leaves for a fine-tuning."""
TRUTH_FILE = "truth.parquet"
"""What a synthetic world leaves beside its images: who is on them."""


@dataclass(frozen=True)
class FineTuning:
    """What the stage gets: images of a split of a labelled source, a backbone, and how it is trained."""

    source: str
    split: str
    network: Network
    finetune: FinetuneConfig
    seed: int
    per_image: bool = False
    """Whether each image's channels are brought to mean 0 and deviation 1."""


def build_reid(
    network: Network, method: str, identities: int, seed: int, weights: Path | None = None
) -> ReIDModel | BranchedModel:
    """A backbone with its head, randomly initialised but for the backbone's weights; a function of the seed.

    Args:
        network: the backbone.
        method: bag_of_tricks, transreid or mgn.
        identities: of the training set.
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


def load_reid(network: Network, method: str, file: Path) -> ReIDModel | BranchedModel:
    """What a training ended with.

    Args:
        network: the backbone.
        method: of the fine-tuning.
        file: its final.pt.

    Returns:
        The model, in eval mode.
    """
    state, prefix = read_checkpoint(file)["state_dict"], "model."
    weights = {name.removeprefix(prefix): state[name] for name in state if name.startswith(prefix)}
    classifier = next(name for name in weights if name.endswith("classifier.weight"))
    model = build_reid(network, method, len(weights[classifier]), seed=0)
    model.load_state_dict(weights)
    return model.eval()


def finetune(job: Job) -> dict[str, Any]:
    """Train on labelled images.

    Args:
        job: its section is a `FineTuning`; it begins with its file "weights" or the backbone of the
            pre-training that it reads, if there is either. Its folder gets final.pt.

    Returns:
        The numbers of images, identities and steps.
    """
    section: FineTuning = job.section
    settings = section.finetune
    rows = labelled_rows(job.manifest(section.source, section.split))
    pids = rows.pids.tolist()
    before = [folder / BACKBONE_FILE for name, folder in job.inputs.items() if name != PREPARE]
    weights = job.files.get("weights", before[0] if before else None)
    model = build_reid(section.network, settings.method, len(set(pids)), section.seed, weights)
    objective: nn.Module
    if isinstance(model, ReIDModel):
        objective = ReIDObjective(model, pids, margin=settings.margin, normalize=settings.normalize)
    else:
        objective = BranchedObjective(model, pids, margin=settings.margin)
    layout = (settings.identities, settings.instances)
    train = settings.train.resolve(-(-len(rows) // (layout[0] * layout[1])), job.runtime)
    batches = PKBatches(rows.pids, *layout, train.steps * train.accumulate, section.seed, *ranks(job.runtime))
    transform = augment(section.network.image_size, settings.augmentation, section.per_image)
    dataset = ImageDataset(rows, transform)
    fit(objective, dataset, batches, collate, train, job.folder, section.seed, job.logger, job.digest)
    return {"images": len(rows), "identities": len(set(pids)), "steps": train.steps}


def labelled_rows(rows: Manifest) -> Manifest:
    """The rows whose person is known: by the release's labels, else by a synthetic world's truth.

    Args:
        rows: of a source.

    Raises:
        ValueError: nobody is known.
    """
    if (rows.pids < 0).all() and (rows.root / TRUTH_FILE).is_file():
        rows = Manifest(rows.table.assign(pid=true_identities(rows)), rows.root, rows.name)
    if (rows.pids < 0).all():
        raise ValueError(f"{rows.name}: no image in {rows.root} has a label; choose a labelled source")
    return rows.where(rows.pids >= 0)


def true_identities(rows: Manifest) -> Any:
    """Who is on each image of a synthetic world, int64 [n].

    Args:
        rows: of its layout.
    """
    truth = pd.read_parquet(rows.root / TRUTH_FILE).set_index("path")["identity"]
    return truth.loc[rows.table["path"]].to_numpy(dtype="int64")


def augment(size: Size, settings: Augmentation, per_image: bool = False) -> Any:
    """The training images' transform, from uint8 [3 h w] to what a backbone takes.

    Args:
        size: height and width.
        settings: of the augmentation.
        per_image: whether each image's channels are brought to mean 0 and deviation 1.
    """
    return train_transform(
        size,
        padding=settings.padding,
        erasing=settings.erasing,
        jitter=settings.jitter,
        per_image=per_image,
    )
