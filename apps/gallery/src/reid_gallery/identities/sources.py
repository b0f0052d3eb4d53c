"""What `identities` is given: videos with a detector or boxes, or a manifest of tracklets that somebody
cut."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reid_core.data.manifest import Manifest, ManifestError
from reid_core.files import write_atomically
from reid_core.models import Embedder, load
from reid_core.video import Detector, find_videos
from reid_denoise import simultaneous
from reid_gallery.identities.videos import (
    APART_FILE,
    CLOCK_FILE,
    IMAGES_FILE,
    TrackConfig,
    cut_video,
    write_features,
)

MANIFESTS = (".parquet", ".csv")


@dataclass(frozen=True)
class Model:
    """Where the model is, so that each process loads its own.

    Args:
        source: as `reid_core.models.load` takes it.
        preprocessing: fields of an exported model's preprocessing, as JSON.
    """

    source: str
    preprocessing: str

    def load(self) -> Embedder:
        """The model; loaded once per process."""
        return _load(self)


@lru_cache(maxsize=1)
def _load(model: Model) -> Embedder:
    return load(model.source, **json.loads(model.preprocessing))


@dataclass(frozen=True)
class Source:
    """Videos, or what was cut of them.

    Args:
        videos: names, in their order.
        cameras: camera and start of each where the source itself knows; else empty.
        job: makes the folder (second argument) of a video (first).
        root: folder of the images' paths in the videos' tables; None for the folder of the videos' folders.
        settings: what decides the videos' folders, beside the model.
    """

    videos: list[str]
    cameras: dict[str, tuple[str, float]]
    job: Callable[[str, Path], None]
    root: Path | None
    settings: dict[str, Any]


def open_source(
    source: str, model: Model, config: TrackConfig, detect: Detector | None, boxes: str | None
) -> Source:
    """Videos of a folder, or a manifest's.

    Args:
        source: folder of videos at any depth, or a manifest (.parquet, .csv) with tracklets.
        model: images -> features.
        config: of tracking.
        detect: the detector, for videos.
        boxes: folder of files in the MOT challenge's format, VIDEO.txt for each video; in place of a
            detector.

    Raises:
        ValueError: neither a detector nor boxes for videos, or either for a manifest; a video without boxes.
        ManifestError: the manifest holds no tracklet, or no video.
    """
    if Path(source).suffix in MANIFESTS:
        if detect is not None or boxes is not None:
            raise ValueError(f"{source}: a manifest has its tracklets already; leave out detector and boxes")
        return _manifest(Path(source), model)
    if (detect is None) == (boxes is None):
        raise ValueError("give either --weights or --detector, or --boxes with a MOT file per video")
    root = Path(source)
    names = find_videos(root)
    files: dict[str, Path] = {}
    if boxes is not None:
        files = {name: Path(boxes, name).with_suffix(".txt") for name in names}
        missing = [str(file) for file in files.values() if not file.is_file()]
        if missing:
            raise ValueError(f"{missing[0]}: there is no such file of boxes ({len(missing)} such videos)")

    def cut(name: str, folder: Path) -> None:
        cut_video(root / name, folder, files.get(name) or detect, config, model.load())  # type: ignore[arg-type]

    way = {"boxes": boxes} if boxes else {"detector": getattr(detect, "name", None) or repr(type(detect))}
    return Source(names, {}, cut, None, asdict(config) | way)


def _manifest(path: Path, model: Model) -> Source:
    manifest = Manifest.load(path) if path.suffix == ".parquet" else Manifest(pd.read_csv(path), path.parent)
    table = manifest.table
    some = table[table["tracklet"] >= 0]
    if not len(some):
        raise ManifestError(f"{path}: no row has a tracklet; expected at least two", "tracklet")
    if (some["video"] < 0).any():
        some = some.assign(video=some["camid"].clip(lower=0))
    if (some.groupby("tracklet")["video"].nunique() > 1).any():
        raise ManifestError(f"{path}: a tracklet lies in several videos", "video")
    parts = {f"{video:06}": rows for video, rows in some.groupby("video")}
    cameras = manifest.names.get("camid", {})
    known = {
        name: (cameras.get(int(rows["camid"].iloc[0]), f"camera {rows['camid'].iloc[0]}"), 0.0)
        for name, rows in parts.items()
    }

    def embed(name: str, folder: Path) -> None:
        partial_ = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial_, ignore_errors=True)
        partial_.mkdir(parents=True)
        rows = parts[name].sort_values(["tracklet", "frame"], kind="stable")
        images = rows[["tracklet", "frame", "path"]].rename(columns={"tracklet": "track"})
        images.to_parquet(partial_ / IMAGES_FILE, index=False)
        paths = [manifest.root / path for path in rows["path"]]
        write_features(partial_, *model.load().embed(paths, errors="mask"))
        columns = (rows[column].to_numpy() for column in ("tracklet", "video", "frame"))
        np.save(partial_ / APART_FILE, simultaneous(*columns))
        write_atomically(partial_ / CLOCK_FILE, json.dumps({"rate": 1.0, "frames": 0}))
        partial_.rename(folder)

    return Source(list(parts), known, embed, manifest.root, {"manifest": manifest.digest})


def make_parts(source: Source, folder: Path, ray: str | None) -> Iterator[tuple[str, str]]:
    """Make the folders of all videos that have none.

    Args:
        source: what to make them of.
        folder: of the folders.
        ray: address of a Ray cluster that does it; None for this process. All nodes must see the same files.

    Yields:
        Each video that is done, and why it could not be read; "" where it could.

    Raises:
        ImportError: Ray is not installed.
    """
    todo = [name for name in source.videos if not (folder / name / CLOCK_FILE).exists()]
    if ray is None or not todo:
        yield from ((name, _make(source, name, folder)) for name in todo)
        return
    try:
        import ray as cluster
    except ImportError as error:
        raise ImportError("--ray needs Ray: pip install ray") from error
    started = not cluster.is_initialized()
    if started:
        cluster.init(address=ray, log_to_driver=False, include_dashboard=False if ray == "local" else None)
    try:
        shared = cluster.put(source)
        task = cluster.remote(_make)
        waiting = {task.remote(shared, name, folder.absolute()): name for name in todo}
        while waiting:
            (ready,), _ = cluster.wait(list(waiting), num_returns=1)
            yield waiting.pop(ready), cluster.get(ready)
    finally:
        if started:
            cluster.shutdown()


def _make(source: Source, name: str, folder: Path) -> str:
    from reid_core.video import UnreadableVideo

    try:
        source.job(name, folder / name)
    except UnreadableVideo as error:
        return str(error)
    return ""
