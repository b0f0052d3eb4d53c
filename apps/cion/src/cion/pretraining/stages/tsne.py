"""The tsne stage: some people of the target's gallery as each pre-training leaves them (CION Fig. 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from cion.config import TARGET, FinetuneConfig, Network
from cion.networks import MODEL_FOLDER, build_reid
from cion.stages.evaluate import NAMES
from reid_core.data.datasets import ImageDataset
from reid_core.data.transforms import eval_transform
from reid_core.models.folder import read_folder
from reid_core.processes import process_rank
from reid_core.recipe import Job, extract_features
from reid_eval.figures import sample_identities, save_figure, tsne_figure

PEOPLE, IMAGES = 15, 20
"""Of Fig. 4: people, and images of each."""
PICTURE = "tsne.png"


@dataclass(frozen=True)
class Visualization:
    """What the stage gets: what is compared, the backbone, and the seed of people, images and t-SNE."""

    variants: tuple[str, ...]
    network: Network
    seed: int


def draw_tsne(job: Job) -> dict[str, Any]:
    """Draw t-SNE of the class tokens of a few people's images, one panel per variant.

    Args:
        job: its section is a `Visualization`; its folder gets the features and tsne.png.

    Returns:
        Numbers of people and images.
    """
    section: Visualization = job.section
    gallery = job.manifest(TARGET, "gallery")
    people, counts = np.unique(gallery.pids[gallery.pids > 0], return_counts=True)
    number, most = min(PEOPLE, len(people)), min(IMAGES, int(counts.max()))
    rows = sample_identities(gallery.pids, number, most, section.seed)
    images = gallery.where(np.isin(np.arange(len(gallery)), rows))
    features, network = {}, section.network
    dataset = ImageDataset(images, eval_transform(network.image_size), replace=False)
    for variant in section.variants:
        if f"pretrain/{variant}" in job.inputs:
            model: nn.Module = read_folder(job.inputs[f"pretrain/{variant}"] / MODEL_FOLDER)[0]
        else:
            model = build_reid(network, FinetuneConfig(), 0, section.seed, job.files.get(variant)).extractor
        found = extract_features(job, model, dataset, job.folder / f"{variant}.npy")
        features[NAMES.get(variant, variant)] = found.array[found.valid]
    if process_rank() == 0:
        save_figure(tsne_figure(features, images.pids[found.valid], section.seed), job.folder / PICTURE)
        job.logger.artifact(job.folder / PICTURE, "figures")
    return {"people": number, "images": len(images)}
