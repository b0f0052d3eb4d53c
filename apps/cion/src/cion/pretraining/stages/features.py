"""The features stage: a model that tells people apart -> its features of every image of the videos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from cion.config import FinetuneConfig, Network
from cion.networks import MODEL_FOLDER, build_reid, feed, read_network
from cion.pretraining.stages.tracklets import load_videos
from reid_core.data.datasets import ImageDataset
from reid_core.data.manifest import Manifest
from reid_core.data.transforms import eval_transform
from reid_core.models.embedder import load
from reid_core.models.formats import SUFFIXES
from reid_core.options import Options
from reid_core.processes import process_rank
from reid_core.recipe import Job, extract_features, save_features
from reid_core.training.unsupervised import within_cameras

FEATURES_FILE, EXTRACTED_FILE = "features.npy", "extracted.npy"


@dataclass(frozen=True)
class Extraction:
    """What the stage gets: the extractor's network, None where it is trained here or features are given."""

    network: Network | None
    standardise: bool
    """Whether each video's features are brought to mean 0 and deviation 1."""
    preprocessing: Options = field(default_factory=dict)
    """What an exported model is fed."""


def find_features(job: Job) -> dict[str, Any]:
    """Features of every image of the videos, or those that were given.

    Args:
        job: its section is an `Extraction`; the model is what the stage "extractor" trained, the file
            "model" of a model folder or an exported one, or the backbone's file "weights"; the file
            "features" stands in for all. Its folder gets features.npy and features.valid.npy.

    Returns:
        The numbers of images and of those that have no feature.

    Raises:
        ValueError: given features that aren't of this manifest.
    """
    section: Extraction = job.section
    videos = load_videos(job)
    if "features" in job.files:
        features, valid = given_features(job.files["features"], job.files.get("valid"), videos)
    else:
        model: nn.Module
        transform: Callable[[Tensor], Tensor]
        if "model" in job.files:
            file = job.files["model"]
            exported = file.suffix in SUFFIXES.values()
            found = load(file if exported else file.parent, **section.preprocessing)
            model, transform = found.model, partial(feed, found.preprocessing)
            if exported:  # it runs on the CPU
                job = replace(job, runtime=replace(job.runtime, accelerator="cpu"))
        elif section.network is None:
            model, transform = read_network(job.inputs["extractor"] / MODEL_FOLDER)
        else:
            transform = eval_transform(section.network.image_size)
            model = build_reid(section.network, FinetuneConfig(), 0, 0, job.files["weights"])
        images = ImageDataset(videos, transform, replace=False)
        features, _, valid = extract_features(job, model, images, job.folder / EXTRACTED_FILE)
    if process_rank() == 0:
        if section.standardise:
            features = within_cameras(features, videos.table["video"].to_numpy())
        save_features(job.folder / FEATURES_FILE, [features], valid)
    return {"images": len(videos), "without_feature": int((~valid).sum())}


def given_features(path: Path, mask: Path | None, videos: Manifest) -> tuple[np.ndarray, np.ndarray]:
    """Map a feature file and hold it against its manifest.

    Args:
        path: *.npy, float [n d], one row per image of the videos' manifest.
        mask: *.npy, bool [n], which of them count; None for all.
        videos: the manifest.

    Returns:
        The features, mapped, and which of them count.

    Raises:
        ValueError: a file that isn't a *.npy, or another type, shape or number of rows.
    """
    features = _map_array(path)
    valid = np.ones(len(videos), dtype=bool) if mask is None else _map_array(mask)
    if features.ndim != 2 or features.dtype.kind != "f" or len(features) != len(videos):
        raise ValueError(
            f"extractor.features: {path} holds {features.dtype} {features.shape}, but the manifest of the "
            f"videos has {len(videos)} rows; expected floats [{len(videos)} d]: extract them again from it"
        )
    if valid.dtype != bool or valid.shape != (len(videos),):
        raise ValueError(
            f"extractor.features: {mask} holds {valid.dtype} {valid.shape}, and {path.name} {len(videos)} "
            f"rows; expected bool [{len(videos)}]: extract both again"
        )
    return features, valid


def _map_array(path: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"extractor.features: {path} is no array of NumPy's ({error})") from error
    return array
