"""The extractor and features stages: a model that tells people apart, and its features of every image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from cion.pipeline.config import RunConfig
from cion.pipeline.finetune import build_reid, finetune, load_reid
from reid_core.data.datasets import ImageDataset
from reid_core.data.manifest import Manifest
from reid_core.data.transforms import eval_transform
from reid_core.models.features import extract, valid_path
from reid_core.models.weights import load_weights
from reid_core.training.loop import FINAL
from reid_core.training.protocols import Logger
from reid_core.training.unsupervised import within_cameras

FEATURES_FILE, EXTRACTED_FILE = "features.npy", "extracted.npy"


def train_extractor(
    config: RunConfig, labelled: Manifest, folder: Path, logger: Logger | None = None
) -> dict[str, Any]:
    """Train the extractor on other people, whose labels are known.

    Args:
        config: the whole configuration.
        labelled: their manifest; its train split counts.
        folder: the stage's folder; gets final.pt.
        logger: gets the metrics; None logs nothing.

    Returns:
        The numbers of images and identities.
    """
    extractor = config.extractor
    weights = Path(extractor.weights) if extractor.weights else None
    return finetune(config, extractor.model, extractor.finetune, labelled, weights, folder, logger)


def extract_features(
    config: RunConfig, videos: Manifest, trained: Path | None, folder: Path
) -> dict[str, Any]:
    """Features of every image of the videos, or those that were given.

    Args:
        config: the whole configuration.
        videos: the manifest.
        trained: folder of the extractor stage; None takes the extractor's weights as they are.
        folder: the stage's folder; gets features.npy and features.valid.npy.

    Returns:
        The numbers of images and of those that have no feature.

    Raises:
        ValueError: given features that aren't of this manifest.
    """
    if config.extractor.features is not None:
        features = given_features(Path(config.extractor.features), videos)
        mask = valid_path(config.extractor.features)
        valid = np.load(mask) if mask.exists() else np.ones(len(videos), dtype=bool)
    else:
        size = config.extractor.model.image_size
        features = extract(
            _model(config, trained),
            ImageDataset(videos, eval_transform(size), replace=False),
            folder / EXTRACTED_FILE,
            batch_size=config.evaluate.batch_size,
            workers=config.machine.workers,
            device="cpu" if config.machine.accelerator == "cpu" else "auto",
            fingerprint=repr(size),
        )
        valid = np.load(valid_path(folder / EXTRACTED_FILE))
    if config.extractor.standardise:
        features = within_cameras(features, videos.table["video"].to_numpy())
    np.save(folder / FEATURES_FILE, features)
    np.save(valid_path(folder / FEATURES_FILE), valid)
    return {"images": len(videos), "without_feature": int((~valid).sum())}


def given_features(path: Path, videos: Manifest) -> np.ndarray:
    """Map a feature file and hold it against its manifest.

    Args:
        path: *.npy, float [n d], a row an image of the videos' manifest.
        videos: the manifest.

    Returns:
        The features, mapped.

    Raises:
        ValueError: another shape or number of rows.
    """
    features = np.load(path, mmap_mode="r", allow_pickle=False)
    if features.ndim != 2 or features.dtype.kind != "f" or len(features) != len(videos):
        raise ValueError(
            f"extractor.features: {path} holds {features.dtype} {features.shape}, but the manifest of the "
            f"videos has {len(videos)} rows; expected floats [{len(videos)} d]: extract them again from it"
        )
    return features


def _model(config: RunConfig, trained: Path | None) -> nn.Module:
    extractor = config.extractor
    if trained is not None:
        return load_reid(extractor.model, extractor.finetune, trained / FINAL)
    model = build_reid(extractor.model, extractor.finetune, 1, config.seed)
    assert extractor.weights is not None
    print(load_weights(model.encoder, extractor.weights))
    return model
