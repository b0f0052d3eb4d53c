"""The target stage: Cluster Contrast on the target's training images, whose labels aren't looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cion.config import TARGET, FinetuneConfig, Network
from cion.networks import MODEL_FOLDER, build_reid, save_network
from cion.stages.finetune import augment
from reid_core.data.transforms import eval_transform
from reid_core.models.folder import read_folder
from reid_core.models.preprocessing import Preprocessing
from reid_core.processes import process_rank, ranks
from reid_core.recipe import Job
from reid_core.training.config import Augmentation, Training
from reid_core.training.unsupervised import ClusterContrastConfig, train_clusters

ROUNDS_FOLDER = "rounds"
INITIAL = "initial"
"""Model folder of the network as the run begins with it."""


@dataclass(frozen=True)
class Adaptation:
    """What the stage gets: rounds and clustering, how a round is trained, and the network."""

    clusters: ClusterContrastConfig
    augmentation: Augmentation
    train: Training
    network: Network
    per_image: bool
    seed: int


def adapt(job: Job) -> dict[str, Any]:
    """Learn from the target's training images by Cluster Contrast.

    Args:
        job: its section is an `Adaptation`; it begins with what the stage "source" trained (UDA), else with
            the backbone's file "weights" or random weights (USL). Its folder gets rounds/, initial/ and
            model/.

    Returns:
        Numbers of clusters and outliers in the last round.

    Raises:
        ValueError: too few images, or a round without two clusters; the message says what to change.
    """
    section: Adaptation = job.section
    settings, size = section.clusters, section.network.image_size
    images = job.manifest(TARGET, "train")
    weights = job.files.get("weights")
    seen = Preprocessing(size, per_image=section.per_image)
    model: Any = build_reid(section.network, FinetuneConfig(), 0, section.seed, weights)
    data = [weights.name if weights else "none"]
    if process_rank() == 0:
        save_network(job.folder, model, section.network, data, job.digest, seen, INITIAL)
    if "source" in job.inputs:
        model, about = read_folder(job.inputs["source"] / MODEL_FOLDER)
        data, seen = list(about.training_data), about.preprocessing
        model.descriptor = "after"  # what is clustered, whatever was compared before
    train = section.train.resolve(-(-len(images) // (settings.identities * settings.instances)), job.runtime)
    found = train_clusters(
        model.train(),
        images,
        augment(seen, section.augmentation),
        eval_transform(seen.size, mean=seen.mean, std=seen.std, per_image=seen.per_image),
        job.folder / ROUNDS_FOLDER,
        settings,
        train,
        section.seed,
        job.digest,
        job.logger,
        *ranks(job.runtime),
    )
    if process_rank() == 0:
        data = [*(name for name in data if name != "none"), f"{job.title(TARGET)} (unlabeled)"]
        save_network(job.folder, model, section.network, data, job.digest, seen)
    return found[-1]
