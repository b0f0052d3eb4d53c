"""The tracklets stage: a source of tracked video, or raw video -> a manifest with tracklets and videos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cion.pretraining.config import VIDEOS, TrackletsConfig
from cion.stages.finetune import TRUTH_FILE, true_identities
from reid_core.data.manifest import UNKNOWN, Manifest
from reid_core.data.samplers import permutation
from reid_core.files import atomic
from reid_core.processes import process_rank
from reid_core.recipe import Job, track_videos
from reid_core.recipe.rows import CROPS_FOLDER

VIDEOS_FILE, IDENTITIES_FILE = "videos.parquet", "truth.npy"


@dataclass(frozen=True)
class Tracking:
    """What the stage gets: settings without their paths, which are the job's."""

    tracklets: TrackletsConfig
    seed: int | None
    """Of the tracker's faults, where some are asked for."""


def find_tracklets(job: Job) -> dict[str, Any]:
    """Track raw video, in all processes, or take a source's tracklets, with faults if asked for.

    Args:
        job: its section is a `Tracking`; its folder gets videos.parquet, crops/ of raw video, and truth.npy,
            int64 [n], who is on the images, where a synthetic world says so, or the pids of a source that
            has tracklets of its own. Nothing else looks at these.

    Returns:
        Numbers of images, tracklets and videos.

    Raises:
        ValueError: no tracklets.
    """
    section: Tracking = job.section
    settings, truth = section.tracklets, None
    if "raw" in job.watched:
        from reid_core.video import TrackletConfig

        limits = TrackletConfig(min_frames=settings.min_frames)
        videos = track_videos(job, job.watched["raw"], job.files["detector"], limits)
        if not videos.tracklets():
            raise ValueError(
                f"tracklets.raw: {job.watched['raw']} shows nobody in {settings.min_frames} frames with "
                f"confidence {limits.confidence}; lower tracklets.min_frames, or give other videos"
            )
        if process_rank() > 0:
            return {}
    else:
        videos = job.manifest(VIDEOS)
        if (videos.table["tracklet"] != UNKNOWN).any() and (videos.pids != UNKNOWN).any():
            truth = videos.pids
            videos = Manifest(videos.table.assign(pid=UNKNOWN), videos.root, videos.name)
        videos = with_tracklets(videos)
        if not videos.tracklets():
            raise ValueError(
                f"{VIDEOS}: {videos.name} has no tracklets; give tracked video, such as synth_pedes, or "
                "tracklets.raw, a folder of raw video"
            )
    if (videos.root / TRUTH_FILE).is_file():
        truth = true_identities(videos)
    if truth is not None:
        with atomic(job.folder / IDENTITIES_FILE) as temporary:
            np.save(temporary, truth)
    if section.seed is not None:
        videos = corrupt_tracklets(videos, settings.switch, settings.split, section.seed)
    videos.save(job.folder / VIDEOS_FILE)
    table = videos.table
    counts = {name: int((np.unique(table[name]) >= 0).sum()) for name in ("tracklet", "video")}
    return {"images": len(videos), "tracklets": counts["tracklet"], "videos": counts["video"]}


def load_videos(job: Job) -> Manifest:
    """What the stage has found, at the place where the images lie now.

    Args:
        job: of a stage that reads "tracklets".
    """
    found = job.inputs["tracklets"]
    return Manifest.load(found / VIDEOS_FILE, job.roots.get(VIDEOS, found / CROPS_FOLDER))


def with_tracklets(manifest: Manifest) -> Manifest:
    """Give a manifest the tracklets and videos that its rows or paths name.

    Without tracklets each identity is one, as SYNTH-PEDES's noisy identities are (CION 4.1). A tracklet whose
    video the source doesn't state, as SYNTH-PEDES's layout does not, is a video of its own: nothing is merged
    within it, and the sliding range over all tracklets finds who is who (CION 3.2, Eq. 7).

    Args:
        manifest: as a reader returns it.

    Example:
        >>> from pathlib import Path
        >>> table = pd.DataFrame({"path": ["1/7/a.jpg", "1/7/b.jpg", "1/8/a.jpg"], "split": "train"})
        >>> table["pid"] = [7, 7, 8]
        >>> with_tracklets(Manifest(table, Path("/data"))).table[["tracklet", "video"]].to_numpy().tolist()
        [[7, 0], [7, 0], [8, 1]]
    """
    table = manifest.table.copy()
    if (table["tracklet"] == UNKNOWN).all():
        table["tracklet"] = table["pid"]
    unknown = table["video"] == UNKNOWN
    own = pd.factorize(table["tracklet"][unknown])[0]
    table.loc[unknown, "video"] = own + table["video"].max() + 1
    return Manifest(table, manifest.root, manifest.name)


def corrupt_tracklets(manifest: Manifest, switch: float, split: float, seed: int) -> Manifest:
    """Tracklets as a tracker makes them that mixes people up and loses them; no image is moved.

    Args:
        manifest: with tracklets and videos.
        switch: share of a video's tracklets that get their second half from another of that video.
        split: share of the tracklets whose second half gets a new number.
        seed: of the draw.

    Returns:
        The manifest with other tracklet numbers; each row's video stays.

    Example:
        >>> from pathlib import Path
        >>> table = pd.DataFrame({"path": list("abcdefgh"), "split": "unlabeled", "video": 0})
        >>> table["tracklet"] = [0, 0, 0, 0, 1, 1, 1, 1]
        >>> corrupt_tracklets(Manifest(table, Path("/data")), 1.0, 0.0, 0).table["tracklet"].tolist()
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
