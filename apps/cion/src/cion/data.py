"""Where a run's images come from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cion.config import Data, Synthetic
from reid_core.data.manifest import Manifest
from reid_core.data.readers import read
from reid_core.synthetic import World, write_market1501

LAYOUT = "market1501"


def write_world(synthetic: Synthetic, folder: Path) -> dict[str, Any]:
    """Write a synthetic world as Market-1501, to `folder/market1501`.

    Args:
        synthetic: the world and its layout.
        folder: the stage's folder.

    Returns:
        The number of images.
    """
    root = folder / LAYOUT
    if not root.exists():  # it appears only when it is whole
        options = {"workers": os.cpu_count() or 1, **synthetic.layout}
        write_market1501(World(**synthetic.world), root, **options)
    return {"images": len(read(LAYOUT, root))}


def load(data: Data, written: Path) -> Manifest:
    """Read a data set.

    Args:
        data: which.
        written: folder that `write_world` wrote to, where the data set is a synthetic world.

    Returns:
        The manifest.

    Raises:
        FileNotFoundError: the root, or a file of the release, is missing.
        ValueError: unknown or withdrawn name, a file name that can't be parsed, an empty split.
    """
    if data.synthetic is not None:
        return read(LAYOUT, written / LAYOUT)
    return read(data.name, data.root, **data.options)
