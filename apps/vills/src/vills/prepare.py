"""The prepare stage: sources on disk -> validated manifests in the run folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from reid_core.data.manifest import Manifest
from reid_core.data.readers import read
from reid_core.synthetic import World
from reid_core.synthetic.layouts import write_folder, write_market1501, write_mars
from vills.config import Config, DataConfig, Source, Synthetic, sources, written

WRITERS: dict[str, Callable[..., Path]] = {
    "market1501": write_market1501,
    "mars": write_mars,
    "folder": write_folder,
}
LABELLED_SPLITS = ("train", "query", "gallery")


def prepare(config: Config, folder: Path) -> dict[str, Any]:
    """Write the synthetic world if one is asked for, read every source, check it and save its manifest.

    Args:
        config: the whole configuration.
        folder: the stage's folder; gets synthetic/LAYOUT/ and SOURCE.parquet.

    Returns:
        Source -> number of images, of tracklets, and digest of its manifest.

    Raises:
        FileNotFoundError: a root is missing.
        ValueError: an empty split, a file name that can't be parsed, an unknown reader or layout.
    """
    data = config.data
    if data.synthetic is not None:
        write_world(data.synthetic, folder / "synthetic", config.machine.threads or os.cpu_count() or 1)
    summary: dict[str, Any] = {}
    for name, source in sources(data).items():
        manifest = read(source.name, source_root(data, source, folder), **source.options)
        _check(name, manifest)
        manifest.save(manifest_file(folder, name))
        summary[name] = {
            "images": len(manifest),
            "tracklets": len(manifest.tracklets()),
            "digest": manifest.digest,
        }
    return summary


def manifest_file(folder: Path, name: str) -> Path:
    """Where a source's manifest is kept.

    Args:
        folder: folder of the prepare stage.
        name: dotted name of the source, such as data.image.

    Returns:
        Path of the Parquet file.

    Example:
        >>> manifest_file(Path("prepare"), "data.image").as_posix()
        'prepare/image.parquet'
    """
    return folder / f"{name.removeprefix('data.')}.parquet"


def source_root(data: DataConfig, source: Source, folder: Path) -> Path:
    """Folder that a source is read from.

    Args:
        data: the data configuration.
        source: one of its sources.
        folder: folder of the prepare stage, which a synthetic world is written below.

    Returns:
        The folder.

    Example:
        >>> source_root(DataConfig(root="x"), Source("pku_reid"), Path("prepare")).as_posix()
        'x'
    """
    if written(data, source):
        return folder / "synthetic" / source.name
    return Path(source.root or data.root)


def write_world(synthetic: Synthetic, folder: Path, workers: int) -> None:
    """Write each layout of the synthetic world that isn't there yet.

    Args:
        synthetic: layouts and dials.
        folder: gets a folder a layout.
        workers: processes.

    Raises:
        ValueError: there is no writer for a layout.
    """
    world = World(**synthetic.world)
    for layout, options in synthetic.layouts.items():
        if layout not in WRITERS:
            raise ValueError(f"data.synthetic.layouts: no writer for {layout!r}; there are {list(WRITERS)}")
        options, people = dict(options), world
        if layout == "folder" and "identities" in options:
            first, end = options["identities"]
            options["identities"] = range(first, end)
            people = replace(world, identities=max(world.identities, end))
        if not (folder / layout).exists():  # a layout appears only when it is whole
            WRITERS[layout](people, folder / layout, workers=workers, **options)


def _check(name: str, manifest: Manifest) -> None:
    """A labelled source must be able to train and to be evaluated; say so before anything long begins."""
    if not name.startswith("data.pretrain"):
        for split in LABELLED_SPLITS:
            _rows(name, manifest, split)
        train = _rows(name, manifest, "train")
        if len(np.unique(train.pids[train.pids >= 0])) < 2:
            raise ValueError(f"{name}: the train split of {manifest.name} has fewer than 2 identities")
    if name == "data.video":
        for split in LABELLED_SPLITS:
            if not _rows(name, manifest, split).tracklets():
                raise ValueError(
                    f"{name}: the {split} split of {manifest.name} has no tracklets; "
                    "use a source of videos, or set data.video to null"
                )


def _rows(name: str, manifest: Manifest, split: str) -> Manifest:
    try:
        return manifest.select(split)
    except ValueError as error:
        raise ValueError(f"{name}: the {split} split is empty under {manifest.root} ({error})") from error
