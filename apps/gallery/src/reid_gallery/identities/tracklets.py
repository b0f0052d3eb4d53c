"""All tracklets of all videos as two tables and one array of features."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from reid_core.files import create_memmap
from reid_gallery.identities.videos import APART_FILE, BOXES_FILE, CLOCK_FILE, FEATURES_FILE, IMAGES_FILE


@dataclass(frozen=True, eq=False)
class Tracklets:
    """Tracklets of all videos, and their images.

    Args:
        table: one row per tracklet, its index the tracklet's number: name (VIDEO#TRACK, the same in every
            run),
            video (number), camera (number), begin and end (frames of its video, both seen), start and stop
            (seconds on the cameras' common clock).
        images: one row per image, by tracklet and frame: tracklet, frame, path (below the videos' folder).
        features: float32 [images d], memory-mapped.
        valid: bool [images], False where an image has no feature.
        apart: int64 [p 2], pairs of tracklets that are seen beside each other in one video.
        videos: their names.
        cameras: their names.
    """

    table: pd.DataFrame
    images: pd.DataFrame
    features: np.ndarray
    valid: np.ndarray
    apart: np.ndarray
    videos: list[str]
    cameras: list[str]

    @property
    def of_image(self) -> np.ndarray:
        """The tracklet of each image, int64 [images]."""
        return self.images["tracklet"].to_numpy()

    def per_image(self, column: str) -> np.ndarray:
        """A column of the tracklets' table, of each image.

        Args:
            column: its name.
        """
        values: np.ndarray = self.table[column].to_numpy()[self.of_image]
        return values


def collect(folder: Path, videos: list[str], cameras: dict[str, tuple[str, float]], work: Path) -> Tracklets:
    """Join what all videos gave.

    Args:
        folder: of the videos' folders.
        videos: their names.
        cameras: video -> name of its camera, and when it begins on the cameras' common clock, in seconds.
        work: folder for the joined features.

    Raises:
        ValueError: no video holds a tracklet.
    """
    names = sorted({camera for camera, _ in cameras.values()})
    tables, images = [], []
    apart = [np.empty((0, 2), dtype=np.int64)]
    first = 0
    for number, video in enumerate(videos):
        clock = json.loads((folder / video / CLOCK_FILE).read_text())
        some = pd.read_parquet(folder / video / IMAGES_FILE)
        tracks, codes = np.unique(some["track"].to_numpy(), return_inverse=True)
        camera, begins = cameras[video]
        seen = _spans(folder / video, some).loc[tracks]
        table = seen.assign(
            name=[f"{video}#{track}" for track in tracks.tolist()],
            video=number,
            camera=names.index(camera),
            track=tracks,
            start=begins + seen["begin"] / clock["rate"],
            stop=begins + (seen["end"] + 1) / clock["rate"],
        )
        tables.append(table)
        paths = [f"{video}/{path}" if clock["frames"] else path for path in some["path"]]
        some = some.assign(tracklet=first + codes, path=paths, row=np.arange(len(some)), part=number)
        beside = np.load(folder / video / APART_FILE)
        beside = beside[np.isin(beside, tracks).all(axis=1)]
        apart.append(first + np.searchsorted(tracks, beside))
        images.append(some.drop(columns="track").sort_values(["tracklet", "frame"], kind="stable"))
        first += len(tracks)
    if not first:
        raise ValueError(f"{folder}: no video holds a tracklet that is long and clear enough")
    rows = pd.concat(images, ignore_index=True)
    features, valid = _join_features(folder, videos, rows, work)
    return Tracklets(
        pd.concat(tables, ignore_index=True),
        rows[["tracklet", "frame", "path"]],
        features,
        valid,
        np.concatenate(apart),
        videos,
        names,
    )


def _spans(folder: Path, images: pd.DataFrame) -> pd.DataFrame:
    """First and last frame of each track: of its boxes, where there are any, else of its images."""
    boxes = pd.read_parquet(folder / BOXES_FILE) if (folder / BOXES_FILE).exists() else images
    return boxes.groupby("track")["frame"].agg(begin="min", end="max")


def _join_features(
    folder: Path, videos: list[str], rows: pd.DataFrame, work: Path
) -> tuple[np.ndarray, np.ndarray]:
    work.mkdir(parents=True, exist_ok=True)
    joined: np.ndarray | None = None
    valid = np.zeros(len(rows), dtype=bool)
    for number, places in rows.groupby("part")["row"].indices.items():
        with np.load(folder / videos[int(number)] / FEATURES_FILE) as part:
            chosen = rows["row"].to_numpy()[places]
            if joined is None:
                joined = create_memmap(
                    work / "features.npy", (len(rows), part["features"].shape[1]), "float32"
                )
            joined[places] = part["features"][chosen]
            valid[places] = part["valid"][chosen]
    assert joined is not None
    return joined, valid


def read_cameras(path: Path | None, videos: list[str]) -> dict[str, tuple[str, float]]:
    """Camera and start of each video.

    Args:
        path: CSV with the columns video and camera, and start (seconds on a clock that all cameras share) if
            it is known; None: the first folder of a video's name is its camera, of one in no folder its name.
        videos: names that there are.

    Returns:
        video -> camera, start.

    Raises:
        ValueError: a column or a video is missing, or a start is no number.

    Example:
        >>> read_cameras(None, ["street/a.mp4", "b.mp4"])
        {'street/a.mp4': ('street', 0.0), 'b.mp4': ('b.mp4', 0.0)}
    """
    if path is None:
        return {video: (video.partition("/")[0], 0.0) for video in videos}
    found: dict[str, tuple[str, float]] = {}
    with open(path, newline="", encoding="utf-8") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            try:
                found[row["video"]] = (row["camera"], float(row.get("start") or 0.0))
            except (KeyError, ValueError) as error:
                raise ValueError(
                    f"{path}, line {line}: got {dict(row)}; expected video,camera,start, the start in "
                    f"seconds ({error})"
                ) from error
    missing = [video for video in videos if video not in found]
    if missing:
        raise ValueError(f"{path}: names no camera for {missing[0]} ({len(missing)} such videos)")
    return {video: found[video] for video in videos}
