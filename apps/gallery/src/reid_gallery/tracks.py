"""A video's boxes with features, and tracks with the mean feature of their boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from reid_core.files import atomic
from reid_core.models import Embedder
from reid_core.models.model_config import Metric
from reid_core.video.frames import read_frames
from reid_core.video.tracking import SEEING, build_tracker
from reid_gallery.boxes import embed

UNKNOWN = -1
"""Number of a box that is of no known track."""


class VideoFeatures(NamedTuple):
    """Features of a video's boxes.

    Attributes:
        rows: a row per box, as `read_mot` has them.
        features: float32 `[n d]`, zeros where not valid.
        valid: bool `[n]`.
        metric: how features are compared; with "cosine" a track's mean is made unit length.
    """

    rows: pd.DataFrame
    features: np.ndarray
    valid: np.ndarray
    metric: Metric


def embed_video(
    embedder: Embedder,
    video: str | Path,
    rows: pd.DataFrame,
    margin: float = 0.0,
    tracker: str | None = None,
    device: str = "auto",
) -> VideoFeatures:
    """Embed a video's boxes frame by frame.

    Args:
        embedder: the model.
        video: the file (extra `video` of reid-core).
        rows: as `reid_core.video.read_mot` gives them.
        margin: added to a box on each side, as a part of its width and height.
        tracker: numbers the tracks in place of the rows' own numbers, one of reid-core's TRACKERS.
        device: where the model runs.

    Returns:
        The boxes with their features.

    Raises:
        ValueError: boxes of frames that the video lacks.
        UnreadableVideo: the video can't be read; the message names it.
    """
    features = np.zeros((len(rows), embedder.dim), dtype=np.float32)
    valid = np.zeros(len(rows), dtype=bool)
    rows = rows.assign(track=UNKNOWN) if tracker else rows
    tracks = rows["track"].to_numpy(copy=True)
    places = rows.groupby("frame").indices
    corners, scores = rows[["left", "top", "right", "bottom"]].to_numpy(), rows["score"].to_numpy()
    tracking, frames = None, 0
    last = max(places, default=-1) + 1
    for frame in read_frames(video):
        if frame.number >= last:
            break
        frames = frame.number + 1
        own = places.get(frame.number, np.empty(0, dtype=np.int64))
        if tracker:
            tracking = tracking or build_tracker(tracker, frame.rate)
            seen = frame.image if tracker in SEEING else None
            tracks[own] = _assign(tracking, corners[own], scores[own], seen)
        if len(own):
            features[own], valid[own] = embed(embedder, frame.image, corners[own], margin, device)
    if frames < last:
        raise ValueError(
            f"{video} has {frames} frames, but there are boxes of frame {last}: of another video?"
        )
    return VideoFeatures(rows.assign(track=tracks), features, valid, embedder.metric)


def mean_features(found: VideoFeatures) -> tuple[pd.DataFrame, np.ndarray]:
    """Of each known track: its first and last frame, its boxes, and their mean feature.

    Args:
        found: as `embed_video` gives it.

    Returns:
        A row per track (track, first, last, boxes), and float32 `[t d]`.
    """
    known = found.rows[(found.rows["track"] != UNKNOWN) & found.valid]
    groups = known.groupby("track")
    table = groups["frame"].agg(first="min", last="max", boxes="size").reset_index()
    means = [found.features[places.to_numpy()].mean(axis=0) for places in groups.groups.values()]
    array = np.array(means, dtype=np.float32).reshape(len(means), found.features.shape[1])
    if found.metric == "cosine":
        array /= np.maximum(np.linalg.norm(array, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return table, array


def write_features(found: VideoFeatures, folder: Path) -> int:
    """Write boxes and tracks, each as a table and its features.

    Args:
        found: as `embed_video` gives it.
        folder: to write to.

    Returns:
        The number of tracks.
    """
    table, means = mean_features(found)
    boxes = found.rows.assign(valid=found.valid)
    for name, rows, features in (("boxes", boxes, found.features), ("tracks", table, means)):
        with atomic(folder / f"{name}.npy") as temporary:
            np.save(temporary, features)
        with atomic(folder / f"{name}.parquet") as temporary:
            rows.to_parquet(temporary, index=False)
    return len(table)


def _assign(tracking: Any, corners: np.ndarray, scores: np.ndarray, frame: np.ndarray | None) -> np.ndarray:
    """Track of each box, UNKNOWN where the tracker has none yet."""
    from supervision import Detections

    boxes = Detections(
        xyxy=corners.astype(np.float32),
        confidence=scores.astype(np.float32),
        data={"place": np.arange(len(corners))},
    )
    tracked = tracking.update(boxes, frame)
    tracks = np.full(len(corners), UNKNOWN)
    if len(tracked):
        tracks[tracked.data["place"]] = tracked.tracker_id
    return tracks
