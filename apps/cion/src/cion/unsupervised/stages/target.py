"""The target stage: Cluster Contrast on the target's training images, whose labels aren't looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cion.config import Augmentation, Network
from cion.stages.finetune import augment, build_reid, load_reid
from reid_core.data.transforms import eval_transform
from reid_core.models.heads import ReIDModel
from reid_core.processes import process_rank, ranks
from reid_core.recipe import Job
from reid_core.training.checkpoints import write_checkpoint
from reid_core.training.config import Training
from reid_core.training.loop import FINAL
from reid_core.training.unsupervised import ClusterContrastConfig, train_clusters

ROUNDS_FOLDER = "rounds"


@dataclass(frozen=True)
class Adaptation:
    """What the stage gets: rounds and clustering, how a round is trained, and the network."""

    clusters: ClusterContrastConfig
    augmentation: Augmentation
    train: Training
    network: Network
    per_image: bool
    method: str
    seed: int


def adapt(job: Job) -> dict[str, Any]:
    """Learn from the target's training images by Cluster Contrast.

    Args:
        job: its section is an `Adaptation`; it begins with what the stage "source" trained (UDA), else with
            the backbone's file "weights" or random weights (USL). Its folder gets rounds/ and final.pt.

    Returns:
        Numbers of clusters and outliers in the last round.

    Raises:
        ValueError: too few images, or a round without two clusters; the message says what to change.
    """
    section: Adaptation = job.section
    if "source" in job.inputs:
        model = load_reid(section.network, section.method, job.inputs["source"] / FINAL)
    else:
        model = build_reid(section.network, section.method, 1, section.seed, job.files.get("weights"))
    settings, size = section.clusters, section.network.image_size
    images = job.manifest("data.target", "train")
    assert isinstance(model, ReIDModel)
    model.classifier.requires_grad_(False)  # nothing to learn here, nor anything for weight decay to shrink
    train = section.train.resolve(-(-len(images) // (settings.identities * settings.instances)), job.runtime)
    found = train_clusters(
        model,
        images,
        augment(size, section.augmentation, section.per_image),
        eval_transform(size, per_image=section.per_image),
        job.folder / ROUNDS_FOLDER,
        settings,
        train,
        section.seed,
        job.digest,
        job.logger,
        *ranks(job.runtime),
    )
    if process_rank() == 0:
        state = {f"model.{name}": value for name, value in model.state_dict().items()}
        about = {"step": len(found) * train.steps, "digest": job.digest}
        write_checkpoint({"state_dict": state, **about}, job.folder / FINAL)
    return found[-1]
