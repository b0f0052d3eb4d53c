"""The batch job: every image's masks and keypoints into shards, to be killed and called again at any time."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from reid_lse.cluster import on_ray
from reid_lse.extraction import Extraction
from reid_lse.files import list_images
from reid_lse.progress import Progress
from reid_lse.prompts import named_areas
from reid_lse.shards import Job, ShardMaker, shard_file, write_shard

SETTINGS_FILE = "extract.json"
ERRORS_FILE = "errors.csv"

FORMAT = 1
"""Version of the shards' layout."""

ELSEWHERE = ("device", "compile")
"""Options that say where the work is done, not what is made."""


class Summary(NamedTuple):
    """What a finished extraction holds."""

    images: int
    unreadable: int
    shards: int
    found: dict[str, float]
    """Share of the readable images in which each area was found."""


def extract(
    images: str,
    out: str,
    extraction: Extraction,
    batch: int = 64,
    workers: int | None = None,
    shard: int = 1024,
    ray: str | None = None,
) -> Summary:
    """Segment images and keep their masks and keypoints, as Parquet files of a thousand images each.

    Called again after being cut off, it goes on after the last whole shard and ends with the same files.
    Images that can't be read are listed in errors.csv.

    Args:
        images: folder of images, or Parquet with a column path
        out: folder to write to
        extraction: how masks are made.
        batch: images that are segmented together
        workers: threads that read images, and that GrabCut works in; as many as cores by default
        shard: images a file
        ray: address of a Ray cluster to work on ("local" starts one here), which sees the images' folder too

    Returns:
        Summary of the whole extraction.

    Raises:
        FileNotFoundError: no such images, keypoints or weights.
        OSError: out can't be written.
        ValueError: options that don't fit, or out holds an extraction with other ones.
    """
    workers = workers or os.cpu_count() or 1
    for name, value in (("batch", batch), ("workers", workers), ("shard", shard)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    source = list_images(images)
    job = Job(source, extraction, batch, workers, shard)
    if known := extraction.known_keypoints():
        known.check(source.paths)
    folder = Path(out)
    settings = _settings(job)
    _check_settings(folder, settings)
    # The models are loaded before anything is written: what is wrong with them shows here.
    maker = ShardMaker(job) if ray is None else None
    folder.mkdir(parents=True, exist_ok=True)
    for partial in folder.glob("masks-*.partial"):
        partial.unlink(missing_ok=True)
    _write(folder / SETTINGS_FILE, json.dumps(settings, indent=2) + "\n")

    todo = [number for number in range(job.shards) if not shard_file(folder, number).exists()]
    left = sum(len(source.paths[number * shard : (number + 1) * shard]) for number in todo)
    with Progress("extract", len(source.paths), len(source.paths) - left) as progress:
        made = _here(maker, todo, progress.add) if maker else on_ray(str(ray), job, todo, progress.add)
        for number, table in made:
            write_shard(table, shard_file(folder, number))
    return _summarise(folder, job, list(settings["areas"]))


def read_settings(folder: str | Path) -> dict[str, Any]:
    """The settings that an extraction was made with: areas with their keypoints, root, number of images, ...

    Raises:
        FileNotFoundError: the folder holds no extraction.
    """
    path = Path(folder) / SETTINGS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a folder that `reid-lse extract` wrote")
    return json.loads(path.read_text(encoding="utf-8"))


def _here(
    maker: ShardMaker, todo: list[int], report: Callable[[int], None]
) -> Iterator[tuple[int, pa.Table]]:
    for number in todo:
        yield number, maker.make(number, report)


def _settings(job: Job) -> dict[str, Any]:
    options = {name: value for name, value in asdict(job.extraction).items() if name not in ELSEWHERE}
    return {
        "format": FORMAT,
        "root": str(job.images.root),
        "images": len(job.images.paths),
        "paths_sha256": hashlib.sha256("\n".join(job.images.paths).encode()).hexdigest(),
        "shard": job.shard,
        "batch": job.batch,
        **options,
        "areas": {name: list(points) for name, points in named_areas(job.extraction.areas).items()},
    }


def _check_settings(folder: Path, settings: dict[str, Any]) -> None:
    if not (folder / SETTINGS_FILE).exists():
        return
    there = read_settings(folder)
    other = [name for name in {**there, **settings} if there.get(name) != settings.get(name)]
    if other:
        name = other[0]
        raise ValueError(
            f"{folder} holds an extraction made with {name} = {there.get(name)!r}, "
            f"now {settings.get(name)!r}; name another folder, or remove it"
        )


def _summarise(folder: Path, job: Job, areas: list[str]) -> Summary:
    """Count what the shards hold, and list the images without masks."""
    found, unreadable = dict.fromkeys(areas, 0), 0
    errors = io.StringIO()
    writer = csv.writer(errors, lineterminator="\n")
    writer.writerow(("path", "error"))
    for number in range(job.shards):
        table = pq.read_table(shard_file(folder, number), columns=["path", "valid", "error"])
        for path, valid, error in zip(*(column.to_pylist() for column in table.columns), strict=True):
            if error is not None:
                unreadable += 1
                writer.writerow((path, error))
            for area, there in zip(areas, valid or (), strict=False):
                found[area] += there
    _write(folder / ERRORS_FILE, errors.getvalue())
    images = len(job.images.paths)
    shares = {area: count / max(1, images - unreadable) for area, count in found.items()}
    return Summary(images, unreadable, job.shards, shares)


def _write(path: Path, content: str) -> None:
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(content, encoding="utf-8")
    partial.replace(path)
