"""The model that a command is given: loaded, and known again by its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from reid_core.files import digest, file_digest, plain
from reid_core.models import Embedder, load
from reid_core.models.runtimes import ExportedModel


def load_model(source: str, preprocessing: Mapping[str, Any] | None = None) -> Embedder:
    """Load a model.

    Args:
        source: a model folder, a hub's OWNER/NAME, or an .onnx or .xml file.
        preprocessing: fields of `reid_core.models.Preprocessing`, for an exported file that has no
            config.json beside it.
    """
    return load(source, **dict(preprocessing or {}))


def model_digest(embedder: Embedder) -> str:
    """SHA-256 of what decides a model's features: weights, preprocessing, metric and flip.

    Args:
        embedder: as `load_model` gives it.

    Returns:
        64 hexadecimal digits.
    """
    weights = hashlib.sha256()
    if isinstance(embedder.model, ExportedModel):
        path = embedder.model.path
        for file in (path, path.with_suffix(".bin")):
            if file.is_file():
                weights.update(file_digest(file).encode())
    for name, value in embedder.model.state_dict().items():
        weights.update(name.encode())
        weights.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest(
        {
            "weights": weights.hexdigest(),
            "preprocessing": plain(embedder.preprocessing),
            "metric": embedder.metric,
            "flip": embedder.flip,
        }
    )


def calibration_file(model: str) -> Path:
    """Where a model's calibration lies: in its folder, or beside an exported file.

    Args:
        model: a model folder or an exported file.
    """
    path = Path(model)
    return (path if path.is_dir() else path.parent) / "calibration.json"
