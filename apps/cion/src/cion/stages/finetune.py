"""Supervised fine-tuning of a backbone by bag of tricks, TransReID or MGN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
from torch import nn

from cion.config import FinetuneConfig, Network, Size
from cion.networks import MODEL_FOLDER, build_reid, save_network
from reid_core.data.datasets import ImageDataset, collate
from reid_core.data.manifest import Manifest
from reid_core.data.samplers import PKBatches
from reid_core.data.transforms import train_transform
from reid_core.models.folder import WEIGHTS_FILE
from reid_core.models.heads import ReIDModel, ReIDObjective
from reid_core.models.model_config import CONFIG_FILE, read_config
from reid_core.models.parts import BranchedObjective
from reid_core.processes import process_rank, ranks
from reid_core.recipe import Job
from reid_core.recipe.rows import PREPARE
from reid_core.training.config import Augmentation
from reid_core.training.loop import fit

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


def finetune(job: Job) -> dict[str, Any]:
    """Train on labelled images.

    Args:
        job: its section is a `FineTuning`; it begins with its file "weights" or the backbone of the
            pre-training that it reads, if there is either. Its folder gets model/ and final.pt.

    Returns:
        The numbers of images, identities and steps.
    """
    section: FineTuning = job.section
    settings = section.finetune
    rows = labelled_rows(job.manifest(section.source, section.split))
    pids = rows.pids.tolist()
    weights = job.files.get("weights")
    data = [weights.name] if weights else []
    for before in set(job.inputs) - {PREPARE}:
        weights = job.inputs[before] / MODEL_FOLDER / WEIGHTS_FILE
        data = list(read_config(weights.with_name(CONFIG_FILE)).training_data)
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
    if process_rank() == 0:
        data.append(job.title(section.source))
        save_network(job.folder, model, section.network, data, job.digest, section.per_image)
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
