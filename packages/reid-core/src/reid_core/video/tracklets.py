"""Tracklets of persons from raw video: detect, track, crop."""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from reid_core.data.manifest import Manifest
from reid_core.data.storage import StorageGone
from reid_core.files import claim, write_atomically
from reid_core.progress import Progress
from reid_core.video.detector import Detector
from reid_core.video.frames import Frame, UnreadableVideo, read_frames
from reid_core.video.tracking import build_tracker, detect_frames, track_boxes

VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".flv"})
CONFIDENCE = 0.8
"""VILLS 4.1: "we applied a multi-object tracking method with a confidence threshold of 0.8"."""
BOXES_FILE, UNREADABLE_FILE, MANIFEST_FILE = "boxes.parquet", "unreadable.txt", "manifest.parquet"
JPEG_QUALITY = 95
WRITERS, WAITING, CROPS_AT_A_TIME = 2, 4, 64
"""Threads that encode and write crops, and how much waits for them at most, so many crops each."""
COLUMNS = ("track", "frame", "score", "left", "top", "right", "bottom")


@dataclass(frozen=True)
class TrackletConfig:
    """Which tracks are kept, and how they are cut out."""

    confidence: float = CONFIDENCE
    """Least mean score of a kept track's boxes. VILLS doesn't say of what its threshold is; ByteTrack itself
    links boxes of low scores, so that a person who is hidden for a moment keeps the track."""
    margin: float = 0.05
    """Added to a box on each side, as a part of its width and height."""
    min_frames: int = 8
    """Shortest tracklet that is kept (VILLS trains on 8 frames)."""
    every: int = 1
    """2 looks at every second frame, and so on."""
    tracker: str = "bytetrack"
    """One of `TRACKERS`."""

    def __post_init__(self) -> None:
        if not 0 <= self.confidence <= 1 or self.margin < 0 or min(self.min_frames, self.every) < 1:
            raise ValueError(
                f"{self}: expected confidence from 0 to 1, margin from 0, min_frames and every from 1"
            )


def find_videos(root: Path) -> list[str]:
    """Videos below a folder, by their suffix: sorted POSIX paths relative to it.

    Args:
        root: the folder; hidden files and folders are left out.

    Raises:
        FileNotFoundError: there is no such folder, or no video in it.
    """
    names = []
    for folder, below, files in os.walk(root):
        below[:] = [sub for sub in below if not sub.startswith(".")]
        inside = Path(folder).relative_to(root)
        videos = [name for name in files if Path(name).suffix.lower() in VIDEO_SUFFIXES]
        names += [(inside / name).as_posix() for name in videos if not name.startswith(".")]
    if not names:
        raise FileNotFoundError(
            f"{root}: is no folder with videos ({', '.join(sorted(VIDEO_SUFFIXES))}), at any depth"
        )
    return sorted(names)


def extract_tracklets(
    videos: str | Path,
    out: str | Path,
    detect: Detector,
    config: TrackletConfig | None = None,
    batch: int = 8,
    part: int = 0,
    parts: int = 1,
    progress: bool = True,
) -> Manifest:
    """Cut the tracklets of persons out of all videos of a folder.

    `out/VIDEO/TRACK/FRAME.jpg` are the crops and `out/VIDEO/boxes.parquet` says where they were; a video's
    folder appears only when it is whole. Called again, the work resumes with the videos that have none. A
    video that can't be read to its end is skipped; `out/VIDEO/unreadable.txt` says why, and it is tried
    again by the next call. Several processes can share the work (`parts`).

    Args:
        videos: folder of videos, at any depth.
        out: folder to write to, made where missing.
        detect: frames -> boxes and scores of each, such as a `PersonDetector`, or any function that returns
            pairs of float [n 4] and [n].
        config: which tracks are kept; None for the defaults.
        batch: frames that the detector gets at a time.
        part, parts: this call takes every `parts`-th video, from number `part` on.
        progress: show it.

    Returns:
        The manifest of what all calls have finished so far, also written to `out/manifest.parquet`, with one
        unlabeled row per crop. `video` is the number of the video among the sorted names, `tracklet` counts
        up, `frame` is the frame's number in the video.

    Raises:
        FileNotFoundError: there is no video.
        StorageGone: the folder of the videos vanished.
        ManifestError: a video's name can't stand in a manifest.
        ValueError: `out` was begun with other settings, a setting is out of its range, or the detector
            returns something else.
        ImportError: the extra `video` is not installed.
    """
    config = config or TrackletConfig()
    if batch < 1 or not 0 <= part < parts:
        raise ValueError(f"batch={batch}, part={part}, parts={parts}: expected batch > 0, 0 <= part < parts")
    root, out = Path(videos), Path(out)
    names = find_videos(root)
    # A name that no manifest takes must not come to light after days of work.
    Manifest(pd.DataFrame({"path": names, "split": "unlabeled"}), root)
    build_tracker(config.tracker, 1.0)
    claim(out, {"tracklets": asdict(config)})
    mine = names[part::parts]
    todo = [name for name in mine if not (out / name / BOXES_FILE).exists()]
    unreadable = 0
    with Progress("videos", len(mine), len(mine) - len(todo), enabled=progress) as shown:
        for number, name in enumerate(todo, start=len(mine) - len(todo)):
            message = f"{unreadable} unreadable" if unreadable else ""
            frames = _show_progress(
                read_frames(root / name, config.every), shown, number, f"{name} {message}"
            )
            try:
                _extract(frames, out / name, detect, config, batch)
            except UnreadableVideo as error:
                if not root.is_dir():
                    raise StorageGone(
                        f"{root}: the folder of the videos is gone ({error}); bring it back, and the same "
                        "command resumes"
                    ) from error
                unreadable += 1
                write_atomically(out / name / UNREADABLE_FILE, f"{error}\n")
            shown.update(number + 1, message)
    return collect_tracklets(root, out)


def collect_tracklets(videos: str | Path, out: str | Path) -> Manifest:
    """The manifest of what all calls of `extract_tracklets` have finished so far, written anew.

    Args:
        videos: folder of videos, at any depth.
        out: folder that was written to; it gets manifest.parquet.

    Returns:
        One row per crop, as `extract_tracklets` gives them.
    """
    out = Path(out)
    manifest = _join_boxes(out, find_videos(Path(videos)))
    manifest.save(out / MANIFEST_FILE)
    return manifest


def unreadable_videos(out: str | Path, videos: str | Path) -> dict[str, str]:
    """Why videos could not be read: name -> reason, of those that `extract_tracklets` skipped."""
    files = ((name, Path(out) / name / UNREADABLE_FILE) for name in find_videos(Path(videos)))
    return {name: file.read_text().strip() for name, file in files if file.exists()}


def _show_progress(frames: Iterator[Frame], shown: Progress, number: int, label: str) -> Iterator[Frame]:
    """The frames; a video of a day says how far it is, too."""
    for frame in frames:
        seconds = int(frame.number / frame.rate)
        if shown.due(number):
            shown.update(number, f"{label} at {seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}")
        yield frame


def _extract(
    frames: Iterator[Frame], folder: Path, detect: Detector, config: TrackletConfig, batch: int
) -> None:
    """One video: crops of all tracks as they come, of which those that aren't kept are removed at its end."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        rows: list[tuple] = []
        tracks: dict[int, str] = {}
        crops: list[tuple[np.ndarray, str]] = []
        written: deque[Future[None]] = deque()
        with ThreadPoolExecutor(WRITERS) as pool:
            detected = detect_frames(frames, detect, batch)
            for frame, tracked in track_boxes(detected, config.tracker, config.every):
                for row, crop in _crops(frame, tracked, config.margin):
                    track = row[0]
                    if track not in tracks:
                        tracks[track] = str(partial / f"{track:05}")
                        os.mkdir(tracks[track])
                    crops.append((crop, f"{tracks[track]}/{frame.number:07}.jpg"))
                    rows.append(row)
                if len(crops) >= CROPS_AT_A_TIME:
                    written.append(pool.submit(_write_crops, crops))
                    crops = []
                while len(written) > WAITING:
                    written.popleft().result()
            _write_crops(crops)
            for part in written:
                part.result()
        boxes = pd.DataFrame(rows, columns=list(COLUMNS)).sort_values(["track", "frame"], ignore_index=True)
        of_track = boxes.groupby("track")["score"]
        kept = (of_track.transform("mean") >= config.confidence) & (
            of_track.transform("size") >= config.min_frames
        )
        for track in boxes.loc[~kept, "track"].unique():
            shutil.rmtree(partial / f"{track:05}")
        boxes[kept].to_parquet(partial / BOXES_FILE, index=False)
        shutil.rmtree(folder, ignore_errors=True)  # what an earlier call said of it
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _crops(frame: Frame, tracked: Any, margin: float) -> Iterator[tuple[tuple, np.ndarray]]:
    """A frame's rows, as COLUMNS, and their crops; a box beside the picture has none."""
    height, width = frame.image.shape[:2]
    for box, score, track in zip(tracked.xyxy, tracked.confidence, tracked.tracker_id, strict=True):
        left, top, right, bottom = box.tolist()
        beside, above = margin * (right - left), margin * (bottom - top)
        x0, x1 = max(0, round(left - beside)), min(width, round(right + beside))
        y0, y1 = max(0, round(top - above)), min(height, round(bottom + above))
        if track < 0 or x0 >= x1 or y0 >= y1:
            continue
        row = (int(track), frame.number, float(score), left, top, right, bottom)
        yield row, cv2.cvtColor(frame.image[y0:y1, x0:x1], cv2.COLOR_RGB2BGR)


def _write_crops(crops: Sequence[tuple[np.ndarray, str]]) -> None:
    for crop, path in crops:
        _, encoded = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        # `open` calls the system six times, and waits after each for Python's lock, which the tracker holds.
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            left = encoded.data
            while left:
                left = left[os.write(file, left) :]
        finally:
            os.close(file)


def _join_boxes(out: Path, names: Sequence[str]) -> Manifest:
    """The manifest of all finished videos."""
    parts = []
    first = 0
    for number, name in enumerate(names):
        file = out / name / BOXES_FILE
        boxes = pd.read_parquet(file, columns=["track", "frame"]) if file.exists() else pd.DataFrame()
        if not len(boxes):
            continue
        tracks = [f"{name}/{track:05}" for track in boxes["track"]]
        paths = [f"{track}/{frame:07}.jpg" for track, frame in zip(tracks, boxes["frame"], strict=True)]
        tracklet = first + pd.factorize(boxes["track"])[0]
        parts.append(
            pd.DataFrame({"path": paths, "tracklet": tracklet, "frame": boxes["frame"], "video": number})
        )
        first = int(tracklet[-1]) + 1
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"path": []})
    return Manifest(rows.assign(split="unlabeled"), out, "tracklets")
