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
from reid_gallery.boxes import embed

COLUMNS = ("frame", "track", "left", "top", "width", "height", "confidence")
"""The first columns of MOT challenge's files."""
UNKNOWN = -1
"""Number of a box that is of no known track."""


class VideoFeatures(NamedTuple):
    """Features of a video's boxes.

    Attributes:
        rows: a row per box, with COLUMNS.
        features: float32 `[n d]`, zeros where not valid.
        valid: bool `[n]`.
        metric: how features are compared; with "cosine" a track's mean is made unit length.
    """

    rows: pd.DataFrame
    features: np.ndarray
    valid: np.ndarray
    metric: Metric


def read_boxes(path: str | Path, min_confidence: float = 0.0) -> pd.DataFrame:
    """Read boxes in MOT challenge's format, ordered by frame.

    Args:
        path: text file, comma-separated, of at least six columns; without a header.
        min_confidence: boxes of less are left out; a file without confidences has 1.

    Returns:
        A row per box with COLUMNS.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a row that is no box; the message names it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file of boxes")
    try:
        table = pd.read_csv(path, header=None)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no file of boxes ({error}): expected {','.join(COLUMNS)}") from error
    if table.shape[1] < len(COLUMNS) - 1:
        raise ValueError(f"{path} has {table.shape[1]} columns; expected {','.join(COLUMNS)}")
    if table.shape[1] < len(COLUMNS):
        table[len(COLUMNS) - 1] = 1.0
    table = table[list(range(len(COLUMNS)))].set_axis(list(COLUMNS), axis=1)
    numbers = table.apply(pd.to_numeric, errors="coerce")
    wrong = ~np.isfinite(numbers).all(axis=1) | (numbers[["width", "height"]] <= 0).any(axis=1)
    wrong |= numbers["frame"] < 1
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"{path}: row {row + 1} is {table.iloc[row].tolist()}; expected {','.join(COLUMNS)} in numbers, "
            "frames from 1, width and height above 0"
        )
    numbers = numbers[numbers["confidence"] >= min_confidence]
    numbers = numbers.astype({"frame": np.int64, "track": np.int64})
    return numbers.sort_values("frame", kind="stable").reset_index(drop=True)


def embed_video(
    embedder: Embedder,
    video: str | Path,
    rows: pd.DataFrame,
    margin: float = 0.0,
    assign: bool = False,
    device: str = "auto",
) -> VideoFeatures:
    """Embed a video's boxes frame by frame.

    Args:
        embedder: the model.
        video: the file (extra `video` of reid-core).
        rows: as `read_boxes` gives them.
        margin: added to a box on each side, as a part of its width and height.
        assign: number the tracks by ByteTrack in place of the rows' own numbers.
        device: where the model runs.

    Returns:
        The boxes with their features.

    Raises:
        ValueError: boxes of frames that the video lacks.
        UnreadableVideo: the video can't be read; the message names it.
    """
    features = np.zeros((len(rows), embedder.dim), dtype=np.float32)
    valid = np.zeros(len(rows), dtype=bool)
    rows = rows.assign(track=UNKNOWN) if assign else rows
    tracks = rows["track"].to_numpy(copy=True)
    places = rows.groupby("frame").indices
    left_top = rows[["left", "top"]].to_numpy()
    corners = np.concatenate([left_top, left_top + rows[["width", "height"]].to_numpy()], axis=1)
    tracker, last, frames = None, max(places, default=0), 0
    for frame in read_frames(video):
        frames = frame.number + 1
        if frames > last:
            break
        own = places.get(frames, np.empty(0, dtype=np.int64))
        if assign:
            tracker = tracker or _bytetrack(frame.rate)
            tracks[own] = _assign(tracker, corners[own], rows["confidence"].to_numpy()[own])
        if len(own):
            features[own], valid[own] = embed(embedder, frame.image, corners[own], margin, device)
    if frames < last:
        raise ValueError(
            f"{video} has {frames} frames, but there are boxes of frame {last}: another video's?"
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


def _bytetrack(rate: float) -> Any:
    try:
        from trackers import ByteTrackTracker
    except ImportError as error:
        raise ImportError(
            "numbering tracks needs the package trackers: pip install 'reid-gallery[track]'"
        ) from error
    return ByteTrackTracker(frame_rate=rate)


def _assign(tracker: Any, corners: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Track of each box, UNKNOWN where the tracker has none yet."""
    from supervision import Detections

    order = np.arange(len(corners))
    boxes = Detections(
        xyxy=corners.reshape(-1, 4).astype(np.float32),
        confidence=confidence.astype(np.float32),
        data={"place": order},
    )
    tracked = tracker.update(boxes)
    tracks = np.full(len(corners), UNKNOWN)
    if len(tracked):
        tracks[tracked.data["place"]] = tracked.tracker_id
    return tracks
