"""Supervised fine-tuning of a backbone by bag of tricks, TransReID or MGN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cion.config import FinetuneConfig, Network
from cion.networks import MODEL_FOLDER, build_objective, build_reid, save_network
from reid_core.data.datasets import ImageDataset, collate
from reid_core.data.manifest import Manifest
from reid_core.data.samplers import PKBatches
from reid_core.data.transforms import train_transform
from reid_core.models.folder import WEIGHTS_FILE
from reid_core.models.model_config import CONFIG_FILE, read_config
from reid_core.models.preprocessing import Preprocessing
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
    weights, size = job.files.get("weights"), None
    data = [weights.name] if weights else []
    for before in set(job.inputs) - {PREPARE}:
        weights = job.inputs[before] / MODEL_FOLDER / WEIGHTS_FILE
        about = read_config(weights.with_name(CONFIG_FILE))
        data, size = list(about.training_data), about.preprocessing.size
    layout = (settings.identities, settings.instances)
    epoch = sampler_epoch(rows.pids, *layout)
    train = settings.train.resolve(epoch, job.runtime)
    camids = np.unique(rows.camids).tolist() if settings.side_information else None
    model = build_reid(section.network, settings, len(set(pids)), section.seed, weights, size, camids)
    objective = build_objective(model, pids, settings, epoch // train.accumulate)
    batches = PKBatches(rows.pids, *layout, train.steps * train.accumulate, section.seed, *ranks(job.runtime))
    seen = Preprocessing(section.network.image_size, settings.mean, settings.std, per_image=section.per_image)
    transform = augment(seen, settings.augmentation)
    dataset = ImageDataset(rows, transform)
    fit(objective, dataset, batches, collate, train, job.folder, section.seed, job.logger, job.digest)
    if process_rank() == 0:
        data.append(job.title(section.source))
        save_network(job.folder, model, section.network, data, job.digest, seen)
    return {"images": len(rows), "identities": len(set(pids)), "steps": train.steps}


def sampler_epoch(pids: np.ndarray, identities: int, instances: int) -> int:
    """Batches in one pass of the sampler of identities with K images, as Bag of Tricks and TransReID count.

    Each identity has its images in groups of K, at least one, and every batch takes a group of P identities.

    Args:
        pids: of the training images.
        identities: P.
        instances: K.

    Example:
        >>> sampler_epoch(np.repeat([1, 2, 3, 4], [3, 4, 9, 12]), identities=2, instances=4)
        3
    """
    counts = np.unique(pids, return_counts=True)[1]
    return max(1, int((np.maximum(counts, instances) // instances).sum()) // identities)


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


def augment(seen: Preprocessing, settings: Augmentation) -> Any:
    """The training images' transform, from uint8 [3 h w] to what a backbone takes.

    Args:
        seen: size and normalisation.
        settings: of the augmentation.
    """
    return train_transform(
        seen.size,
        padding=settings.padding,
        erasing=settings.erasing,
        jitter=settings.jitter,
        mean=seen.mean,
        std=seen.std,
        per_image=seen.per_image,
    )
