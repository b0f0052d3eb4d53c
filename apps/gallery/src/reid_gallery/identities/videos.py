"""One video to its tracklets: boxes, a few crops of each track in one shard, and their features."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from reid_core.data.shard_images import shard_path
from reid_core.files import write_atomically
from reid_core.models import Embedder
from reid_core.video import Detections, Detector, detect_frames, read_frames, read_mot, track_boxes

BOXES_FILE, IMAGES_FILE, SHARD_FILE, FEATURES_FILE, CLOCK_FILE = (
    "boxes.parquet",
    "images.parquet",
    "crops.tar",
    "features.npz",
    "clock.json",
)
BOX_COLUMNS = ("track", "frame", "score", "left", "top", "right", "bottom")
APART_FILE = "apart.npy"
APART_FRAMES = 3
"""Frames in which boxes of two tracks lie beside each other, from which these are two people. In fewer, or
where the boxes overlap, a tracker may have begun a second track on one person."""
JPEG_QUALITY = 95
Tracked = Iterator[tuple[Any, np.ndarray, np.ndarray, np.ndarray]]
"""A frame; boxes [n 4] with their scores and tracks [n]."""


@dataclass(frozen=True)
class TrackConfig:
    """How people are tracked, and which tracks are kept.

    Args:
        tracker: one of `reid_core.video.TRACKERS`; boxes that have tracks already keep them.
        every: 2 looks at every second frame, and so on.
        confidence: least mean score of a kept track's boxes.
        min_frames: shortest track that is kept.
        images: crops of a track, evenly spread over it, that are kept and embedded.
        margin: added to a box on each side, as a part of its width and height.
        batch: frames that the detector gets at a time.
    """

    tracker: str = "bytetrack"
    every: int = 1
    confidence: float = 0.5
    min_frames: int = 8
    images: int = 16
    margin: float = 0.0
    batch: int = 8

    def __post_init__(self) -> None:
        if min(self.every, self.min_frames, self.images, self.batch) < 1:
            raise ValueError(f"{self}: every, min_frames, images and batch must be 1 or more")
        if not 0 <= self.confidence <= 1 or self.margin < 0:
            raise ValueError(f"{self}: confidence must be from 0 to 1, and margin 0 or more")


def cut_video(
    video: Path, folder: Path, source: Detector | Path, config: TrackConfig, embedder: Embedder
) -> None:
    """Track people in a video, cut some images of each track, and embed them.

    The folder appears when all is in it; called again after a kill, a video is done anew.

    Args:
        video: the file.
        folder: of this video's own, to be made.
        source: frames -> boxes and scores, or a file of the MOT challenge with the video's boxes.
        config: how.
        embedder: images -> features.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    boxes, rate, frames = _boxes(video, source, config)
    boxes.to_parquet(partial / BOXES_FILE, index=False)
    np.save(partial / APART_FILE, find_apart(boxes))
    chosen = choose_images(boxes, config.images)
    names: list[str] = []
    features = embedder.embed(_cut(video, chosen, config, partial / SHARD_FILE, names))
    images = chosen.loc[[bool(name) for name in names], ["track", "frame"]]
    images = images.assign(path=[name for name in names if name])
    images.to_parquet(partial / IMAGES_FILE, index=False)
    write_features(partial, features, np.ones(len(features), dtype=bool))
    write_atomically(partial / CLOCK_FILE, json.dumps({"rate": rate, "frames": frames}))
    partial.rename(folder)


def find_apart(boxes: pd.DataFrame) -> np.ndarray:
    """Pairs of tracks that are seen beside each other, and so are two people.

    Args:
        boxes: BOX_COLUMNS of one video.

    Returns:
        int64 [p 2], tracks, the lower one first, of which no box overlaps the other's in APART_FRAMES frames
        or more.

    Example:
        >>> rows = [(t, f, 1.0, 10 * t, 0, 10 * t + 9, 20) for f in range(3) for t in (0, 1)]
        >>> find_apart(pd.DataFrame(rows, columns=list(BOX_COLUMNS))).tolist()
        [[0, 1]]
    """
    found: list[np.ndarray] = [np.empty((0, 2), dtype=np.int64)]
    for _, rows in boxes.groupby("frame"):
        track = rows["track"].to_numpy()
        one, other = np.triu_indices(len(track), 1)
        low, high = rows[["left", "top"]].to_numpy(), rows[["right", "bottom"]].to_numpy()
        shared = np.minimum(high[one], high[other]) - np.maximum(low[one], low[other])
        beside = (shared <= 0).any(axis=1)
        found.append(np.sort(np.stack([track[one], track[other]], axis=1)[beside], axis=1))
    pairs, counts = np.unique(np.concatenate(found), axis=0, return_counts=True)
    return pairs[counts >= APART_FRAMES].astype(np.int64)


def write_features(folder: Path, features: np.ndarray, valid: np.ndarray) -> None:
    """Keep the features of a video's images, and which rows hold one.

    Args:
        folder: of the video.
        features: float [n d].
        valid: bool [n].
    """
    np.savez(folder / FEATURES_FILE, features=features, valid=valid)


def choose_images(boxes: pd.DataFrame, images: int) -> pd.DataFrame:
    """At most so many boxes of each track, evenly spread over it, by frame.

    Args:
        boxes: BOX_COLUMNS, by track and frame.
        images: of a track.

    Example:
        >>> boxes = pd.DataFrame({"track": [1] * 5 + [2], "frame": [0, 1, 2, 3, 4, 2]})
        >>> choose_images(boxes, 3)["frame"].tolist()
        [0, 2, 2, 4]
    """
    sizes = boxes.groupby("track").size().to_numpy()
    firsts = np.cumsum(sizes) - sizes
    spread = [
        first + np.linspace(0, size - 1, min(size, images)).round().astype(int)
        for first, size in zip(firsts.tolist(), sizes.tolist(), strict=True)
    ]
    rows = np.concatenate([np.empty(0, dtype=int), *spread])
    return boxes.iloc[rows].sort_values(["frame", "track"], ignore_index=True)


def _boxes(video: Path, source: Detector | Path, config: TrackConfig) -> tuple[pd.DataFrame, float, int]:
    """Kept tracks' boxes by track and frame, frames a second, and the number of frames."""
    rows: list[tuple[Any, ...]] = []
    rate, last = 1.0, -1
    for frame, boxes, scores, tracks in _track(video, source, config):
        rate, last = frame.rate, frame.number
        rows += [
            (int(track), frame.number, float(score), *map(float, box))
            for box, score, track in zip(boxes, scores, tracks, strict=True)
            if track >= 0
        ]
    found = pd.DataFrame(rows, columns=list(BOX_COLUMNS)).sort_values(["track", "frame"], ignore_index=True)
    grouped = found.groupby("track")["score"]
    kept = (grouped.transform("mean") >= config.confidence) & (grouped.transform("size") >= config.min_frames)
    return found[kept].reset_index(drop=True), rate, last + 1


def _track(video: Path, source: Detector | Path, config: TrackConfig) -> Tracked:
    frames = read_frames(video, config.every)
    if isinstance(source, Path):
        known = read_mot(source)
        if len(known) and (known["track"] >= 0).all():
            yield from _known_tracks(frames, known)
            return
        at = _by_frame(known)
        detected: Iterable[Any] = (
            (frame, Detections(boxes, scores)) for frame, (boxes, scores, _) in _with(frames, at)
        )
    else:
        detected = detect_frames(frames, source, config.batch)
    for frame, found in track_boxes(detected, config.tracker, config.every):
        scores, tracks = np.asarray(found.confidence), np.asarray(found.tracker_id)
        yield frame, found.xyxy, scores, tracks


def _known_tracks(frames: Iterator[Any], known: pd.DataFrame) -> Tracked:
    for frame, (boxes, scores, tracks) in _with(frames, _by_frame(known)):
        yield frame, boxes, scores, tracks


def _by_frame(known: pd.DataFrame) -> Callable[[int], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    frames = known["frame"].to_numpy()
    boxes = known[["left", "top", "right", "bottom"]].to_numpy(dtype=np.float32)
    scores, tracks = known["score"].to_numpy(dtype=np.float32), known["track"].to_numpy()

    def at(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        some = slice(*np.searchsorted(frames, [number, number + 1]))
        return boxes[some], scores[some], tracks[some]

    return at


def _with(
    frames: Iterator[Any], at: Callable[[int], tuple[np.ndarray, np.ndarray, np.ndarray]]
) -> Iterator[tuple[Any, tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    return ((frame, at(frame.number)) for frame in frames)


def _cut(
    video: Path, chosen: pd.DataFrame, config: TrackConfig, shard: Path, names: list[str]
) -> Iterator[np.ndarray]:
    """Crops, RGB, which are put into the shard on the way; `names` gets their paths, "" for one without
    pixels.

    A box beside the picture has no pixels: it yields nothing.
    """
    wanted = {
        number: list(rows)
        for number, rows in groupby(chosen.itertuples(index=False), key=lambda row: row.frame)
    }
    with tarfile.open(shard, "w") as tar:
        for frame in read_frames(video, config.every):
            for row in wanted.get(frame.number, ()):
                crop = _crop(frame.image, (row.left, row.top, row.right, row.bottom), config.margin)
                if crop is None:
                    names.append("")
                    continue
                _, encoded = cv2.imencode(".jpg", crop[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
                member = tarfile.TarInfo(f"{row.track:05}/{row.frame:07}.jpg")
                member.size = len(encoded)
                start = tar.offset + tarfile.BLOCKSIZE
                tar.addfile(member, BytesIO(encoded.tobytes()))
                names.append(shard_path(shard.name, start, member.size, member.name))
                yield np.ascontiguousarray(crop)


def _crop(image: np.ndarray, box: tuple[float, float, float, float], margin: float) -> np.ndarray | None:
    height, width = image.shape[:2]
    left, top, right, bottom = box
    beside, above = margin * (right - left), margin * (bottom - top)
    x0, x1 = max(0, round(left - beside)), min(width, round(right + beside))
    y0, y1 = max(0, round(top - above)), min(height, round(bottom + above))
    return image[y0:y1, x0:x1] if x0 < x1 and y0 < y1 else None
