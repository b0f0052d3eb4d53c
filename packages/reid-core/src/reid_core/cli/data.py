"""The command line `reid-data`: data sets, counted, checked, saved as Parquet, cut from video and packed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from jsonargparse import auto_cli

from reid_core import __version__
from reid_core.options import Options

# The commands import what they need themselves, so that --help waits for neither torch nor pandas. Imports
# for type checking alone would not help: jsonargparse executes them.

ALLOWED = 0.01
"""Share of the images that may be unreadable before the exit status is 1."""
SHOWN = 5
"""Findings of a kind that are printed; `--report` writes all."""
Kind = Literal["unreadable", "unreachable", "duplicates", "one_camera", "missing"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: those behind the program's name; sys.argv's by default.

    Returns:
        Exit status: 0, or 1 after an error or where a check found something wrong.
    """
    commands: Any = {
        "list": list_readers,
        "stats": stats,
        "check": check,
        "convert": convert,
        "tracklets": tracklets,
        "pack": pack,
    }
    given = None if arguments is None else list(arguments)
    try:
        status: int = auto_cli(commands, args=given, prog="reid-data", version=__version__)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader of the output has seen enough (reid-data list | head)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's own flush at the end
        return 0
    except (ValueError, OSError, ImportError) as error:
        print(f"reid-data: {error}", file=sys.stderr)
        return 1


def list_readers() -> int:
    """List the data sets that can be read, with each one's options."""
    from reid_core.data.readers import READERS, find_reader, list_options

    width = max(map(len, READERS))
    for name in (*READERS, "FILE.csv"):
        reader = find_reader(name)
        print(f"{name:<{width}}  {(sys.modules[reader.__module__].__doc__ or '').splitlines()[0]}")
        options = list_options(reader)
        if options:
            shown = ", ".join(f"{option} = {default!r}" for option, default in options.items())
            print(f"{'':<{width}}  options: {shown}")
    return 0


def stats(source: str, root: str | None = None, options: Options | None = None) -> int:
    """Count images, identities, cameras and tracklets, and say what is missing for training and evaluation.

    The published counts stand beside those that are found.

    Args:
        source: name of a data set (see `reid-data list`), or a manifest file (.csv, .tsv, .parquet).
        root: the data set's folder; for a manifest file, the folder of its paths.
        options: the reader's options, such as --options.split 3 (see `reid-data list`).
    """
    from reid_core.cli.report import print_counts, print_differences, print_gaps, read_source
    from reid_core.data.readiness import find_gaps

    manifest = read_source(source, root, options)
    print_counts(manifest)
    print_gaps(find_gaps(manifest))
    print_differences(manifest)
    return 0


def check(
    source: str,
    root: str | None = None,
    options: Options | None = None,
    workers: int | None = None,
    ignore: list[Kind] | None = None,
    resume: str | None = None,
    report: str | None = None,
    allow_unreadable: float = ALLOWED,
) -> int:
    """Find unreadable, lost and repeated images, people of one camera, and queries that the gallery lacks.

    The exit status is 1 when something is found. What is missing for training or evaluation, and counts that
    differ from the published ones, are said and are no fault: a part of a data set is a data set.

    Args:
        source: name of a data set (see `reid-data list`), or a manifest file (.csv, .tsv, .parquet).
        root: the data set's folder; for a manifest file, the folder of its paths.
        options: the reader's options, such as --options.split 3 (see `reid-data list`).
        workers: threads that read images; as many as cores by default.
        ignore: kinds of findings that don't make the exit status 1: unreadable, unreachable, duplicates,
            one_camera, missing.
        resume: file to keep what has been read in; the same command resumes from it after being cut off, and
            tries unreadable and unreachable images again.
        report: JSON file to write all findings to.
        allow_unreadable: share of the images, from 0 to 1, that may be unreadable; more makes the exit status
            1.
    """
    import json
    from dataclasses import asdict

    from reid_core.cli.report import describe, print_differences, print_gaps, read_source
    from reid_core.data.checks import check as check_manifest
    from reid_core.data.readiness import find_gaps
    from reid_core.files import write_atomically

    manifest = read_source(source, root, options)
    gaps = find_gaps(manifest)
    print(manifest)
    print_gaps(gaps)
    print_differences(manifest)
    findings = check_manifest(manifest, workers, Path(resume) if resume else None)
    if report:
        write_atomically(report, json.dumps(asdict(findings) | {"gaps": gaps._asdict()}, indent=1) + "\n")
    wrong = False
    for kind, message, found in describe(findings):
        if found:
            allowed = allow_unreadable * findings.images if kind == "unreadable" else 0
            wrong |= kind not in (ignore or ()) and len(found) > allowed
            more = f" ... ({len(found)})" if len(found) > SHOWN else ""
            print(f"{message}: {len(found)}")
            print("".join(f"  {line}\n" for line in found[:SHOWN]) + (f" {more}\n" if more else ""), end="")
    print(f"{findings.images} images read: {'something is wrong' if wrong else 'nothing wrong'}")
    return int(wrong)


def convert(source: str, output: str, root: str | None = None, options: Options | None = None) -> int:
    """Save a data set's manifest as Parquet.

    Args:
        source: name of a data set (see `reid-data list`), or a manifest file (.csv, .tsv, .parquet).
        output: Parquet file to write.
        root: the data set's folder; for a manifest file, the folder of its paths.
        options: the reader's options, such as --options.split 3 (see `reid-data list`).
    """
    from reid_core.cli.report import print_differences, read_source

    manifest = read_source(source, root, options)
    print_differences(manifest)
    manifest.save(output)
    print(f"{output}: {manifest}")
    return 0


def tracklets(
    videos: str,
    out: str,
    weights: str | None = None,
    model: str = "fasterrcnn_resnet50_fpn_v2",
    detector: Callable[..., Any] | None = None,
    confidence: float = 0.8,
    margin: float = 0.05,
    min_frames: int = 8,
    every: int = 1,
    tracker: str = "bytetrack",
    batch: int = 8,
    part: int = 0,
    parts: int = 1,
) -> int:
    """Cut tracklets of persons out of raw video (extra `video`).

    The same command resumes after being cut off. Videos that can't be read are named, skipped and counted.

    Args:
        videos: folder of videos, at any depth.
        out: folder for OUT/VIDEO/TRACK/FRAME.jpg and OUT/manifest.parquet.
        weights: file of the detector's weights, as torchvision publishes them.
        model: torchvision's name of that detector: fasterrcnn_resnet50_fpn_v2,
            retinanet_resnet50_fpn_v2 or another of its COCO detectors (an unknown name lists them all).
        detector: a function of your own in its place, as package.module.function: frames -> boxes and scores.
        confidence: least mean score of a kept track's boxes, from 0 to 1 (VILLS 4.1: 0.8).
        margin: added to a box on each side, as a share of its width and height.
        min_frames: frames of the shortest tracklet that is kept (VILLS trains on 8).
        every: step between the frames that are looked at: 1 for all frames, 2 for every second one.
        tracker: name of the tracker: bytetrack, ocsort or botsort.
        batch: frames that the detector gets at a time.
        part: number of this process, from 0, among those that share the work.
        parts: number of processes that share the work.
    """
    from reid_core.video import PersonDetector, TrackletConfig, extract_tracklets, unreadable_videos

    if (weights is None) == (detector is None):
        raise ValueError(f"give the weights of {model} with --weights, or a --detector of your own")
    config = TrackletConfig(confidence, margin, min_frames, every, tracker)
    detect = detector or PersonDetector(str(weights), model)
    manifest = extract_tracklets(videos, out, detect, config, batch, part, parts)
    broken = unreadable_videos(out, videos)
    for why in list(broken.values())[:SHOWN]:
        print(f"skipped {why}")
    found = f"{len(manifest.tracklets())} tracklets, {len(manifest)} images"
    print(f"{out}: {found}; {len(broken)} unreadable videos")
    return 0


def pack(
    source: str,
    out: str,
    root: str | None = None,
    options: Options | None = None,
    shard_images: int = 8192,
    seed: int = 0,
    workers: int | None = None,
    allow_unreadable: float = ALLOWED,
) -> int:
    """Pack a data set's images into WebDataset shards (extra `pack`).

    The same command resumes after being cut off. Images that can't be decoded are left out and counted; the
    exit status is 1 where they are more than --allow_unreadable. Those that the storage did not give are left
    out too; the exit status is 1 then, and the same command packs them when they are back.

    Args:
        source: name of a data set (see `reid-data list`), or a manifest file (.csv, .tsv, .parquet).
        out: folder for OUT/000000.tar and so on, and OUT/manifest.parquet, to be used like any manifest.
        root: the data set's folder; for a manifest file, the folder of its paths.
        options: the reader's options, such as --options.split 3 (see `reid-data list`).
        shard_images: images per shard.
        seed: number that seeds the order of the images.
        workers: threads that read and check images; as many as cores by default.
        allow_unreadable: share of the images, from 0 to 1, that may be unreadable; more makes the exit status
            1.
    """
    from reid_core.cli.report import print_differences, read_source
    from reid_core.data.packing import pack as pack_manifest
    from reid_core.data.packing import unreachable_images, unreadable_images

    manifest = read_source(source, root, options)
    print_differences(manifest)
    packed = pack_manifest(manifest, out, shard_images, seed, workers)
    broken, lost = unreadable_images(out), unreachable_images(out)
    for why in [*broken[:SHOWN], *lost[:SHOWN]]:
        print(f"left out {why}")
    shards = len(list(Path(out).glob("[!.]*.tar")))
    print(f"{out}: {len(packed)} images in {shards} shards; {len(broken)} unreadable images")
    if lost:
        print(f"{len(lost)} images could not be reached; the same command packs them when they are back")
    return int(bool(lost) or len(broken) > allow_unreadable * len(manifest))


if __name__ == "__main__":
    sys.exit(main())
