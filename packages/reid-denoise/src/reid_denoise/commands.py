"""What the command line does: denoise files and inspect the result.

Only signatures are needed for `--help`, so whatever computes is imported by the functions.
"""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path

from reid_denoise.criteria import Criteria, Level, Linking, Order


def run(
    criteria: Criteria,
    features: str,
    manifest: str,
    out: str,
    level: Level = "cross_video",
    order: Order = "given",
    linking: Linking = "closure",
    cannot_link: str | None = None,
    must_link: str | None = None,
    center_cameras: bool = False,
    report: str | None = None,
    ray: str | None = None,
) -> None:
    """Find identities and write them beside the manifest's columns; killed and called again, it resumes.

    Args:
        criteria: thresholds, range and metric.
        features: *.npy, float [n d], one row per image of the manifest
        manifest: Parquet with tracklet and video, and path for `inspect`; -1 for an image without a tracklet
        out: Parquet file to write: the manifest with the column identity, -1 for discarded images
        level: last level to apply
        order: order of the videos: as given, or by feature similarity
        linking: how near tracklets become one identity: closure (the paper's; all that are connected), mutual
            (each the other's nearest) or average (by mean distance)
        cannot_link: pairs of tracklets that are never one person, *.npy int [p 2], or the word simultaneous
            for those that the column frame shows at one time in one video
        must_link: pairs of tracklets that are one person, *.npy int [p 2]
        center_cameras: subtract from features what the tracklets of their camera, the manifest's column
            camid, have in common; criteria must be calibrated so, too
        report: JSON file to write the report to; by default out with .json in place of its ending
        ray: address of a Ray cluster to work on, such as auto, or local to start one here
    """
    from reid_denoise.cluster import ray_mapper
    from reid_denoise.files import center_inputs, read_inputs, read_pairs, write_identities, write_json
    from reid_denoise.mapping import map_in_threads
    from reid_denoise.pipeline import denoise
    from reid_denoise.printing import print_report, say
    from reid_denoise.progress import show_progress

    given = read_inputs(features, manifest)
    work = Path(out).with_name(f".{Path(out).name}.work")
    if center_cameras:
        given = center_inputs(given, manifest, work)
    with ray_mapper(ray) if ray else nullcontext(map_in_threads) as mapper:
        result = denoise(
            given.features,
            given.tracklets,
            given.videos,
            criteria,
            valid=given.valid,
            level=level,
            order=order,
            linking=linking,
            cannot_link=read_pairs(cannot_link, "cannot_link", given),
            must_link=read_pairs(must_link, "must_link", given),
            folder=work,
            mapper=mapper,
            progress=show_progress,
        )
    left_out = len(given.table) - result.report.images
    write_json(
        report or Path(out).with_suffix(".json"),
        result.report.to_dict() | {"left_out": left_out},
    )
    write_identities(out, given.table, result.identity)
    shutil.rmtree(work)
    print_report(result.report)
    if left_out:
        featureless = result.report.without_feature
        say(f"{left_out} images were left out: {featureless} have no feature, the others no tracklet.")


def calibrate(
    features: str,
    manifest: str,
    out: str,
    pids: bool = False,
    cannot_link: str | None = None,
    center_cameras: bool = False,
    linking: Linking = "closure",
    half_range: int = 1000,
    metric: str = "cosine",
    seed: int = 0,
) -> None:
    """Choose consistency and discrimination for features, and say what to expect of them.

    Args:
        features: *.npy, float [n d], one row per image of the manifest
        manifest: Parquet with tracklet and video; -1 for an image without a tracklet
        out: JSON file to write the criteria and the report to
        pids: choose by the labelled people in the manifest's column pid, -1 for unknown
        cannot_link: pairs that are never one person, or simultaneous, as of run
        center_cameras: subtract each camera's mean feature before comparing, as of run
        linking: how run will link tracklets, see its help
        half_range: tracklets to either side that run will compare with one (CION 4.1: 1000)
        metric: how run will compare features: cosine, or another name that scipy.spatial.distance.cdist takes
        seed: number that seeds the random draws of tracklets
    """
    from dataclasses import asdict
    from tempfile import TemporaryDirectory

    from reid_denoise.calibration import calibrate_criteria
    from reid_denoise.files import center_inputs, read_inputs, read_pairs, write_json
    from reid_denoise.printing import print_calibration

    given = read_inputs(features, manifest)
    if pids and "pid" not in given.table.column_names:
        raise ValueError(f"{manifest}: column 'pid' is missing, by which --pids would choose")
    with TemporaryDirectory(dir=Path(out).parent) as work:
        if center_cameras:
            given = center_inputs(given, manifest, Path(work))
        found = calibrate_criteria(
            given.features,
            given.tracklets,
            given.videos,
            valid=given.valid,
            pids=given.table["pid"].to_numpy() if pids else None,
            cannot_link=read_pairs(cannot_link, "cannot_link", given),
            linking=linking,
            half_range=half_range,
            metric=metric,
            seed=seed,
        )
    write_json(out, {"criteria": asdict(found.criteria), "report": found.report.to_dict()})
    print_calibration(found)


def inspect(
    identities: str,
    out: str,
    report: str | None = None,
    root: str | None = None,
    count: int = 20,
    images: int = 14,
) -> None:
    """Write an HTML page of the largest merged identities, the borderline links and the discarded images.

    Args:
        identities: Parquet file that `run` wrote, with the column path
        out: HTML file to write
        report: JSON file that `run` wrote; by default identities with .json in place of its ending
        root: folder of the paths; by default the one saved in the manifest, or the identities' own
        count: number of identities, and of links, that are shown
        images: pictures per strip
    """
    from reid_denoise.files import ROOT, read_table
    from reid_denoise.inspection import write_inspection
    from reid_denoise.printing import say

    table = read_table(identities, ("tracklet", "video", "identity"))
    if "path" not in table.column_names:
        raise ValueError(f"{identities}: column 'path' is missing; without it there are no pictures to show")
    told = Path(report) if report else Path(identities).with_suffix(".json")
    if report is None and not told.exists():
        raise ValueError(f"{told}: no such file; give --report, which `run` wrote beside the identities")
    saved = (table.schema.metadata or {}).get(ROOT, b"").decode()
    frame = table.select(["path", "tracklet", "video", "identity"]).to_pandas(ignore_metadata=True)
    home = root or saved or Path(identities).absolute().parent
    missing = write_inspection(out, frame, home, json.loads(told.read_text()), count=count, images=images)
    say(f"{out}: {missing} pictures could not be read." if missing else out)
