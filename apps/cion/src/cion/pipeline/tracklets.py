"""The tracklets stage: raw video, a data set on disk or a synthetic world -> manifests in the run folder."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cion.pipeline.config import RunConfig, Source, Synthetic, Videos
from reid_core.data.manifest import UNKNOWN, Manifest
from reid_core.data.readers import read
from reid_core.data.samplers import permutation
from reid_core.synthetic import World, write_folder, write_market1501

TRUTH_FILE = "truth.parquet"
LABELLED_SPLITS = ("train", "query", "gallery")
TARGET, LABELLED, VIDEOS = "target", "labelled", "videos"
"""The manifests of a run, and the folders of a synthetic world."""


def prepare(config: RunConfig, folder: Path) -> dict[str, Any]:
    """Read every source, or write the synthetic world and read it, check it and save its manifest.

    Args:
        config: the whole configuration.
        folder: the stage's folder; gets target.parquet, videos.parquet and, where the extractor is trained,
            labelled.parquet, and truth.npy, who is on the videos' images, where that is known.

    Returns:
        Manifest -> numbers of images, tracklets, videos, and its digest.

    Raises:
        FileNotFoundError: a root is missing.
        ValueError: an empty split, videos without tracklets, a file name that can't be parsed.
    """
    data = config.data
    truth = None
    if data.synthetic is not None:
        manifests, truth = _synthetic(data.synthetic, folder / "world", config.seed)
        if data.target.root:
            manifests[TARGET] = _labelled("data.target", data.target)
    else:
        manifests = {TARGET: _labelled("data.target", data.target), VIDEOS: _tracked(data.videos, folder)}
        if config.extractor.source is not None:
            manifests[LABELLED] = _labelled("extractor.source", config.extractor.source, ("train",))
    if not manifests[VIDEOS].tracklets():
        raise ValueError(
            f"data.videos: {manifests[VIDEOS].name} has no tracklets; give tracked video, such as "
            "synth_pedes, or raw video with data.videos.raw"
        )
    if truth is not None:
        np.save(folder / "truth.npy", truth)
    summary = {}
    for name, manifest in manifests.items():
        manifest.save(folder / f"{name}.parquet")
        table = manifest.table
        summary[name] = {
            "images": len(manifest),
            "tracklets": int((np.unique(table["tracklet"]) >= 0).sum()),
            "videos": int((np.unique(table["video"]) >= 0).sum()),
            "digest": manifest.digest,
        }
    return summary


def _labelled(name: str, source: Source, splits: tuple[str, ...] = LABELLED_SPLITS) -> Manifest:
    manifest = read(source.name, source.root, **source.options)
    for split in splits:
        try:
            manifest.select(split)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return manifest


def _tracked(source: Videos, folder: Path) -> Manifest:
    """A manifest in which every image has a tracklet and a video."""
    if source.raw is not None:
        from reid_core.video import PersonDetector, TrackletConfig, extract_tracklets

        settings = TrackletConfig(min_frames=source.min_frames)
        return extract_tracklets(source.raw, folder / "crops", PersonDetector(source.detector), settings)
    return with_tracklets(read(source.name, source.root, **source.options))


def with_tracklets(manifest: Manifest) -> Manifest:
    """Give a manifest the tracklets and videos that its rows or paths tell of.

    Without tracklets an identity is one, as SYNTH-PEDES's noisy identities are (CION 4.1). Without videos the
    folder above a tracklet's is one (VIDEO/TRACKLET/FRAME.jpg), else a tracklet's own.

    Args:
        manifest: as a reader returns it.

    Example:
        >>> table = pd.DataFrame({"path": ["v/1/a.jpg", "v/1/b.jpg", "v/2/a.jpg"], "split": "unlabeled"})
        >>> table["tracklet"] = [0, 0, 1]
        >>> with_tracklets(Manifest(table, Path("/data"))).table["video"].tolist()
        [0, 0, 0]
    """
    table = manifest.table.copy()
    if (table["tracklet"] == UNKNOWN).all():
        table["tracklet"] = table["pid"]
    if (table["video"] == UNKNOWN).all():
        parts = table["path"].str.split("/")
        deep = parts.str.len() > 2
        video = parts.str[:-2].str.join("/").where(deep, table["tracklet"].astype(str))
        table["video"] = pd.factorize(video)[0]
    return Manifest(table, manifest.root, manifest.name)


def _synthetic(synthetic: Synthetic, folder: Path, seed: int) -> tuple[dict[str, Manifest], np.ndarray]:
    """Manifests of the three groups of people, and the videos' true identities."""
    groups = {TARGET: synthetic.target, LABELLED: synthetic.labelled, VIDEOS: synthetic.videos}
    people: dict[str, range] = {}
    for name, options in groups.items():
        first = max((group.stop for group in people.values()), default=0)
        people[name] = range(first, first + int(options.get("identities", 0)))
    world = World(**{**synthetic.world, "identities": people[VIDEOS].stop, "switch": 0.0})
    workers = os.cpu_count() or 1
    for name, options in groups.items():
        options = {"workers": workers, **{key: options[key] for key in options if key != "identities"}}
        if (folder / name).exists() or not people[name]:  # it appears only when it is whole
            continue
        if name == TARGET:
            write_market1501(replace(world, identities=people[name].stop), folder / name, **options)
        else:
            options = {"images_per_camera": 0, "tracklets_per_camera": 1, **options}
            write_folder(world, folder / name, identities=people[name], **options)
    manifests = {}
    if people[TARGET]:
        manifests[TARGET] = read("market1501", folder / TARGET)
    if people[LABELLED]:
        truth = pd.read_parquet(folder / LABELLED / TRUTH_FILE)
        table = pd.DataFrame({"path": truth["path"], "split": "train", "pid": truth["identity"]})
        manifests[LABELLED] = Manifest(table.assign(camid=truth["camera"]), folder / LABELLED, LABELLED)
    videos = with_tracklets(read("folder", folder / VIDEOS))
    truth = pd.read_parquet(folder / VIDEOS / TRUTH_FILE).set_index("path")["identity"]
    manifests[VIDEOS] = mistracked(videos, synthetic.switch, synthetic.split, seed)
    return manifests, truth.loc[videos.table["path"]].to_numpy(dtype=np.int64)


def mistracked(manifest: Manifest, switch: float, split: float, seed: int) -> Manifest:
    """Tracklets as a tracker makes them that mixes people up and loses them; no image is moved.

    Args:
        manifest: with tracklets and videos.
        switch: share of a video's tracklets that get their second half from another of that video.
        split: share of the tracklets whose second half gets a new number.
        seed: of the draw.

    Returns:
        The manifest with other tracklet numbers; each row's video stays.

    Example:
        >>> table = pd.DataFrame({"path": list("abcdefgh"), "split": "unlabeled", "video": 0})
        >>> table["tracklet"] = [0, 0, 0, 0, 1, 1, 1, 1]
        >>> mistracked(Manifest(table, Path("/data")), 1.0, 0.0, 0).table["tracklet"].tolist()
        [0, 0, 1, 1, 1, 1, 0, 0]
    """
    table = manifest.table.copy()
    tracks = manifest.tracklets()
    number = table["tracklet"].to_numpy(copy=True)
    video = np.array([table["video"].iat[rows[0]] for rows in tracks])
    second = [rows[len(rows) // 2 :] for rows in tracks]
    names = [int(number[rows[0]]) for rows in tracks]
    for one in np.unique(video):
        inside = np.flatnonzero(video == one)
        chosen = inside[permutation(len(inside), seed, 1, int(one))][: 2 * round(switch * len(inside) / 2)]
        for a, b in chosen.reshape(-1, 2):
            number[second[a]], number[second[b]] = names[b], names[a]
    lost = permutation(len(tracks), seed, 2)[: round(split * len(tracks))]
    for new, track in enumerate(lost, start=max(names) + 1):
        number[second[track]] = new
    return Manifest(table.assign(tracklet=number), manifest.root, manifest.name)
