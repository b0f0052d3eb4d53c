"""The folder of an extraction: its settings, its shards in turn, and what they hold in all."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reid_lse.atomic import atomic
from reid_lse.batch import QUANTILES, Summary
from reid_lse.cluster import on_ray
from reid_lse.extraction import Extraction
from reid_lse.files import Images
from reid_lse.progress import Progress
from reid_lse.shards import UNREACHABLE, Job, ShardMaker, known_keypoints, shard_file, write_shard

SETTINGS_FILE = "extract.json"
ERRORS_FILE = "_errors.csv"
"""Its name keeps it out of `pd.read_parquet(folder)`."""

FORMAT = 2
"""Version of the shards' layout."""

ELSEWHERE = ("device", "compile", "threads")
"""Options that say where the work is done, not what is made."""


def extract_images(
    images: Images,
    out: str | Path,
    extraction: Extraction,
    batch: int = 64,
    workers: int | None = None,
    shard: int = 1024,
    ray: str | None = None,
    part: int = 0,
    parts: int = 1,
) -> Summary:
    """Segment images as `extract` does; images may be read in another way than from files.

    Args:
        images: what to segment; with Ray, its `read` goes to other processes.
        out: folder to write to.
        extraction: how masks are made.
        batch: images that are segmented together.
        workers: threads that read images, and that crf and grabcut work in; as many as cores by default.
        shard: images per file.
        ray: address of a Ray cluster.
        part, parts: this call makes every `parts`-th file, from number `part` on.

    Returns:
        Summary of what the folder then holds.

    Raises:
        FileNotFoundError, OSError, ValueError: as `extract`.
    """
    workers = workers or os.cpu_count() or 1
    for name, value in (("batch", batch), ("workers", workers), ("shard", shard)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if not 0 <= part < parts:
        raise ValueError(f"part={part}, parts={parts}: expected 0 <= part < parts")
    job = Job(images, extraction, batch, workers, shard)
    if known := known_keypoints(job.extraction):
        known.check(job.images.paths)
    folder = Path(out)
    settings = _settings(job)
    _check_settings(folder, settings)
    # The models are loaded before anything is written: what is wrong with them shows here.
    maker = ShardMaker(job) if ray is None else None
    folder.mkdir(parents=True, exist_ok=True)
    mine = range(part, job.shards, parts)
    files = {shard_file(folder, number).stem for number in mine}
    for partial in folder.glob(".masks-*.partial.parquet"):
        if partial.name.split(".")[1] in files:  # another part may be writing the others
            partial.unlink(missing_ok=True)
    if not (folder / SETTINGS_FILE).exists():
        with atomic(folder / SETTINGS_FILE) as temporary:
            temporary.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    todo = [number for number in mine if _is_due(shard_file(folder, number), job)]
    total, left = (sum(map(job.size, numbers)) for numbers in (mine, todo))
    with Progress("extract", total, total - left) as progress:
        made = _here(maker, todo, progress.add) if maker else on_ray(str(ray), job, todo, progress.add)
        for number, table in made:
            write_shard(table, shard_file(folder, number))
    return _summarise(folder, job, list(settings["areas"]))


def read_settings(folder: str | Path) -> dict[str, Any]:
    """The settings that an extraction was made with: areas with their keypoints, root, number of images, ...

    Raises:
        FileNotFoundError: the folder holds no extraction.
        ValueError: its settings are damaged.
    """
    path = Path(folder) / SETTINGS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a folder that `reid-lse extract` wrote")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        numbers = [settings["images"], settings["shard"]]
        texts = [settings["root"], *settings["areas"]]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(
            f"{path}: is not what `reid-lse extract` wrote ({error!r}); extract again"
        ) from error
    whole = all(type(number) is int and number > 0 for number in numbers)
    if not whole or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{path}: images and shard must be counts, root and areas text; extract again")
    return settings


def _is_due(file: Path, job: Job) -> bool:
    """Whether a shard is missing, or has images that could not be reached and are back."""
    if not file.exists():
        return True
    table = pq.read_table(file, columns=["path", "error"])
    away = table.filter(pc.starts_with(table["error"], UNREACHABLE))["path"].to_pylist()
    return any(Path(job.images.root, path).exists() for path in away)


def _here(
    maker: ShardMaker, todo: list[int], report: Callable[[int], None]
) -> Iterator[tuple[int, pa.Table]]:
    for number in todo:
        yield number, maker.make(number, report)


def _settings(job: Job) -> dict[str, Any]:
    options = _without_machine(asdict(job.extraction))
    return {
        "format": FORMAT,
        "root": str(job.images.root),
        "images": len(job.images.paths),
        "paths_sha256": hashlib.sha256("\n".join(job.images.paths).encode()).hexdigest(),
        "shard": job.shard,
        "batch": job.batch,
        **options,
    }


def _without_machine(options: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _without_machine(value) if isinstance(value, dict) and name.endswith("options") else value
        for name, value in options.items()
        if name not in ELSEWHERE
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
    """Count what the shards that are there hold, and list the images without masks."""
    there = [number for number in range(job.shards) if shard_file(folder, number).exists()]
    valid, quality, unreadable, unreachable = [], [], 0, 0
    errors = io.StringIO()
    writer = csv.writer(errors, lineterminator="\n")
    writer.writerow(("path", "error"))
    for number in there:
        table = pq.read_table(shard_file(folder, number), columns=["path", "valid", "quality", "error"])
        for path, found, trust, error in zip(*(column.to_pylist() for column in table.columns), strict=True):
            if error is not None:
                unreadable += 1
                unreachable += error.startswith(UNREACHABLE)
                writer.writerow((path, error))
                continue
            valid.append(found)
            quality.append(trust)
    with atomic(folder / ERRORS_FILE) as temporary:
        temporary.write_text(errors.getvalue(), encoding="utf-8")
    shares = np.mean(valid, axis=0) if valid else np.zeros(len(areas))
    levels = np.quantile(quality, QUANTILES, axis=0) if quality else np.zeros((len(QUANTILES), len(areas)))
    return Summary(
        sum(map(job.size, there)),
        unreadable,
        unreachable,
        len(there),
        job.shards - len(there),
        {area: float(share) for area, share in zip(areas, shares, strict=True)},
        {area: tuple(level.tolist()) for area, level in zip(areas, levels.T, strict=True)},
    )
