"""The whole way: videos or tracklets in; people, their files, and a page out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reid_core.files import atomic, claim, write_atomically
from reid_core.progress import Progress
from reid_core.video import write_mot
from reid_denoise.cluster import ray_mapper
from reid_gallery.identities.decisions import find_constraints
from reid_gallery.identities.linking import LinkConfig, Linked, is_centered, link
from reid_gallery.identities.page import Found, write_page
from reid_gallery.identities.quality import measure
from reid_gallery.identities.sources import Source, make_parts
from reid_gallery.identities.tracklets import Tracklets, collect, read_cameras
from reid_gallery.identities.uncertain import find_uncertain
from reid_gallery.identities.videos import BOXES_FILE

DECISIONS_FILE, PAGE_FILE, REPORT_FILE = "decisions.csv", "page.html", "report.json"


def find_identities(
    source: Source,
    out: Path,
    settings: dict[str, Any],
    linking: LinkConfig,
    *,
    cameras: Path | None = None,
    decisions: Path | None = None,
    links: int = 50,
    ray: str | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Find who is who, and write it down.

    Called again after a kill, work resumes with the videos that are not done; the files are the same bytes.

    Args:
        source: videos or tracklets.
        out: folder to write to.
        settings: what decides the videos' folders: with others, another `out` is needed.
        linking: how tracklets are linked; may change from call to call.
        cameras: CSV of the videos' cameras.
        decisions: people's answers; None for OUT/decisions.csv where there is one.
        links: uncertain ones on the page, at most.
        ray: address of a Ray cluster to work on.
        progress: show it.

    Returns:
        The report, as in OUT/report.json.
    """
    parts, work = out / "videos", out / ".work"
    claim(parts, settings)
    where = source.cameras or read_cameras(cameras, source.videos)
    unreadable = {}
    with Progress("videos", len(source.videos), enabled=progress) as shown:
        for number, (video, why) in enumerate(make_parts(source, parts, ray), start=1):
            shown.update(number, video)
            if why:
                unreadable[video] = why
    videos = [video for video in source.videos if video not in unreadable]
    tracklets = collect(parts, videos, where, work)
    if decisions is None and (out / DECISIONS_FILE).exists():
        decisions = out / DECISIONS_FILE
    constraints = find_constraints(tracklets, decisions)
    with ray_mapper(ray) if ray else nullcontext() as mapper:
        linked = link(tracklets, constraints, linking, work, **({"mapper": mapper} if mapper else {}))
    quality = measure(tracklets, linked, constraints, linking.seed)
    uncertain = find_uncertain(tracklets, linked, constraints, links)
    root = source.root or parts
    found = Found(
        tracklets, linked.person, uncertain, constraints.answered, quality, linked.report.implausible
    )
    report = {
        "people": int(linked.person.max()),
        "people_before_several_cameras": _count_shared(tracklets, linked.person),
        "tracklets": len(tracklets.table),
        "images": len(tracklets.images),
        "discarded_images": int(np.count_nonzero(linked.image == 0)),
        "cameras": tracklets.cameras,
        "unreadable_videos": unreadable,
        "answers": len(constraints.answered),
        "criteria": asdict(linked.criteria),
        "centered_by_camera": is_centered(tracklets, linking.center),
        "quality": quality.to_dict(),
        "notes": list(linked.report.implausible),
    }
    _write_tables(out, tracklets, linked)
    _write_mot_files(out, parts, tracklets, linked.person)
    report["unreadable_pictures"] = write_page(out / PAGE_FILE, found, root)
    write_atomically(out / REPORT_FILE, json.dumps(report, indent=2) + "\n")
    shutil.rmtree(work)
    return report


def _count_shared(tracklets: Tracklets, person: np.ndarray) -> int:
    """People who were seen by several cameras."""
    cameras: Iterable[int] = tracklets.table.groupby(person)["camera"].nunique()
    return sum(count > 1 for count in cameras)


def _write_tables(out: Path, tracklets: Tracklets, linked: Linked) -> None:
    names = {
        "video": np.array(tracklets.videos, dtype=object),
        "camera": np.array(tracklets.cameras, dtype=object),
    }
    table = tracklets.table.assign(
        person=linked.person, **{name: values[tracklets.table[name]] for name, values in names.items()}
    )
    columns = ["name", "person", "camera", "video", "track", "begin", "end", "start", "stop"]
    images = pd.DataFrame(
        {
            "path": tracklets.images["path"],
            "person": linked.image,
            "tracklet": table["name"].to_numpy()[tracklets.of_image],
            "frame": tracklets.images["frame"],
            "valid": tracklets.valid,
        }
    )
    for name, rows in (("tracklets", table[columns]), ("images", images)):
        with atomic(out / f"{name}.parquet") as temporary:
            rows.to_parquet(temporary, index=False)


def _write_mot_files(out: Path, parts: Path, tracklets: Tracklets, person: np.ndarray) -> None:
    """One file per video that has boxes, with people's numbers as ids."""
    table = tracklets.table
    for number, video in enumerate(tracklets.videos):
        file = parts / video / BOXES_FILE
        if not file.exists():
            continue
        own = (table["video"] == number).to_numpy()
        known = dict(zip(table["track"][own].tolist(), person[own].tolist(), strict=True))
        boxes = pd.read_parquet(file)
        boxes["track"] = boxes["track"].map(known)
        boxes = boxes.dropna(subset="track").astype({"track": int})
        write_mot(out / "mot" / f"{video}.txt", boxes.sort_values(["frame", "track"], kind="stable"))
