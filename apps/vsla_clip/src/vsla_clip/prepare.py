"""The prepare stage: tracklets on disk, or of a synthetic world, as a manifest in the run folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from reid_core.data.manifest import Manifest
from reid_core.data.readers import read
from reid_core.synthetic import World, write_mars
from vsla_clip.config import Config, Synthetic

MANIFEST_FILE = "manifest.parquet"
SPLITS = ("train", "query", "gallery")


def prepare(config: Config, folder: Path) -> dict[str, Any]:
    """Read the data set, or write a synthetic one first, check it and keep its manifest.

    Args:
        config: the whole configuration.
        folder: the stage's folder; gets manifest.parquet, and world/ of a synthetic one.

    Returns:
        The manifest's digest, platforms, and numbers of tracklets and identities of each split.

    Raises:
        FileNotFoundError: the root, or a file of the release, is missing.
        ValueError: an unknown reader, a name that can't be parsed, a split without tracklets.
    """
    data = config.data
    if data.synthetic is not None:
        workers = config.machine.threads or os.cpu_count() or 1
        manifest = write_world(data.synthetic, folder / "world", data.size, workers)
    else:
        manifest = read(data.name, data.root, **data.options)
    summary: dict[str, Any] = {"digest": manifest.digest, "platforms": platforms(manifest)}
    for split in SPLITS:
        rows = manifest.select(split)
        if not rows.tracklets():
            raise ValueError(
                f"data: the {split} split of {manifest.name} has no tracklets; use a video data set"
            )
        people = np.unique(rows.pids[rows.pids > 0])
        summary[split] = {"tracklets": len(rows.tracklets()), "identities": len(people)}
    manifest.save(folder / MANIFEST_FILE)
    return summary


def write_world(synthetic: Synthetic, root: Path, size: tuple[int, int], workers: int) -> Manifest:
    """Write a synthetic world in MARS's layout, or read what was written.

    Args:
        synthetic: the world's dials and the layout's options.
        root: folder; it appears only when it is whole.
        size: height and width of a frame where the dials say nothing.
        workers: processes that draw.

    Returns:
        Its manifest, with each camera's platform, which MARS's layout doesn't tell.
    """
    world = World(**{"height": size[0], "width": size[1], **synthetic.world})
    if not root.exists():
        write_mars(world, root, **{"workers": workers, **synthetic.layout})
    manifest = read("mars", root)
    if not world.aerial_cameras:
        return manifest
    names = np.array([world.platform(camera) for camera in range(world.cameras)])
    return Manifest(manifest.table.assign(platform=names[manifest.camids - 1]), root, "synthetic")


def platforms(manifest: Manifest) -> list[str]:
    """Platforms of a manifest's rows, the first of them "" where one is unknown.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"path": ["a", "b"], "split": "train", "platform": ["ground", "aerial"]})
        >>> platforms(Manifest(table, Path("/data")))
        ['aerial', 'ground']
    """
    return sorted(manifest.table["platform"].unique().tolist())
