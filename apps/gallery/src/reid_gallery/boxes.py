"""Features of boxes in frames: what trackers and detectors ask of a re-identification model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reid_core.models import Embedder, load

LEAST = 1
"""Pixels of a box's side inside the frame, below which there is nothing to embed."""


class BoxFeatures(NamedTuple):
    """Features of a frame's boxes.

    Attributes:
        features: float32 `[n d]`, zeros where not valid.
        valid: bool `[n]`, False of a box beside the frame.
    """

    features: np.ndarray
    valid: np.ndarray


def embed(
    embedder: Embedder, frame: np.ndarray, boxes: np.ndarray, margin: float = 0.0, device: str = "auto"
) -> BoxFeatures:
    """Features of boxes in a frame.

    Args:
        embedder: as `reid_core.models.load` gives it.
        frame: uint8 `[h w 3]`, RGB. OpenCV reads BGR: give `frame[..., ::-1]`.
        boxes: float `[n 4]`, (left, top, right, bottom) in pixels; parts beside the frame are cut off.
        margin: added to a box on each side, as a part of its width and height.
        device: where the model runs; an exported one runs on the CPU.

    Raises:
        ValueError: a frame or boxes of another shape or type, or boxes that are not finite.

    Example:
        >>> from torch import nn
        >>> from reid_core.models import Preprocessing
        >>> model = Embedder(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), Preprocessing((8, 4)))
        >>> frame = np.zeros((48, 64, 3), np.uint8)
        >>> found = embed(model, frame, np.array([[0, 0, 10, 20], [90, 0, 99, 20]]))
        >>> found.features.shape, found.valid
        ((2, 3), array([ True, False]))
    """
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"frame is {frame.dtype} {frame.shape}; expected uint8 [h w 3], RGB")
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4) if len(boxes) == 0 else np.asarray(boxes)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        raise ValueError(f"boxes are {boxes.shape}; expected finite [n 4]: left, top, right, bottom")
    crops = [crop(frame, box, margin) for box in boxes]
    valid = np.array([one is not None for one in crops], dtype=bool)
    features = np.zeros((len(boxes), embedder.dim), dtype=np.float32)
    if valid.any():
        features[valid] = embedder.embed([one for one in crops if one is not None], device=device, workers=1)
    return BoxFeatures(features, valid)


def box_embedder(
    model: str | Path, margin: float = 0.0, device: str = "auto"
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A plain function `embed(frame, boxes)`, for a tracker of your own.

    Args:
        model: model folder, hub id or exported file.
        margin, device: as of `embed`.

    Returns:
        From uint8 `[h w 3]` (RGB) and float `[n 4]` (left, top, right, bottom) to float32 `[n d]`, of unit
        length where the model's metric is cosine; zeros of a box beside the frame.

    Raises:
        FileNotFoundError: there is no such model.
    """
    embedder = load(model)
    return lambda frame, boxes: embed(embedder, frame, boxes, margin, device).features


def embed_detections(
    embedder: Embedder, frame: np.ndarray, detections: Any, margin: float = 0.0, device: str = "auto"
) -> Any:
    """Put features into detections of `supervision`, which trackers of `trackers` take and return.

    Args:
        embedder, margin, device: as of `embed`.
        frame: uint8 `[h w 3]`, BGR, as supervision and OpenCV have it.
        detections: `supervision.Detections`.

    Returns:
        The same detections, with `data["features"]` `[n d]` and `data["features_valid"]` `[n]`.
    """
    found = embed(embedder, frame[..., ::-1], detections.xyxy, margin, device)
    detections.data |= {"features": found.features, "features_valid": found.valid}
    return detections


def crop(frame: np.ndarray, box: np.ndarray, margin: float = 0.0) -> np.ndarray | None:
    """The part of a frame in a box, or None where there is none.

    Args:
        frame: uint8 `[h w 3]`.
        box: (left, top, right, bottom) in pixels.
        margin: added on each side, as a part of the box's width and height.

    Example:
        >>> crop(np.zeros((48, 64, 3), np.uint8), np.array([10.0, 8.0, 20.0, 28.0]), margin=0.1).shape
        (24, 12, 3)
    """
    height, width = frame.shape[:2]
    left, top, right, bottom = (float(side) for side in box)
    across, down = margin * (right - left), margin * (bottom - top)
    first, last = max(0, round(left - across)), min(width, round(right + across))
    high, low = max(0, round(top - down)), min(height, round(bottom + down))
    if last - first < LEAST or low - high < LEAST:
        return None
    return np.ascontiguousarray(frame[high:low, first:last])
