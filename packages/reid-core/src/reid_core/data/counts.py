"""Counts of a manifest, beside the published ones."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reid_core.data.manifest import SPLITS, Manifest
from reid_core.data.readers import COUNTS

Counted = dict[str, dict[str, int]]
"""ALL or a split -> images, identities, cameras, tracklets."""
ALL = "all"


def count(manifest: Manifest) -> Counted:
    """Count images, identities (pid above 0), cameras and tracklets, in all and a split.

    Args:
        manifest: any.

    Returns:
        counts by "all" (where an image that stands in two splits counts once) and by each split there is.

    >>> rows = pd.DataFrame({"path": list("aab"), "split": ["query", "gallery", "train"], "pid": [1, 1, 2]})
    >>> count(Manifest(rows, "/data"))[ALL]
    {'images': 2, 'identities': 2, 'cameras': 0, 'tracklets': 0}
    """
    table = manifest.table
    counted = {ALL: _count(table[~table["path"].duplicated()])}
    for split in SPLITS:
        part = table[table["split"] == split]
        if len(part):
            counted[split] = _count(part)
    return counted


def _count(rows: pd.DataFrame) -> dict[str, int]:
    least = {"identities": ("pid", 1), "cameras": ("camid", 0), "tracklets": ("tracklet", 0)}
    distinct = {
        what: int((np.unique(rows[column]) >= first).sum()) for what, (column, first) in least.items()
    }
    return {"images": len(rows), **distinct}


def differences(manifest: Manifest) -> list[str] | None:
    """Where a manifest differs from its data set's published counts (which a part of it does, rightly).

    Args:
        manifest: as a reader made it: its name says which counts hold.

    Returns:
        one line per difference, none if all is as published; None where nothing is published for its name.
    """
    published = COUNTS.get(manifest.name)
    if published is None:
        return None
    counted = count(manifest)
    return [
        f"{split} {what} {expected:,} expected, {found:,} found"
        for split, counts in published.items()
        for what, expected in counts.items()
        if (found := counted.get(split, {}).get(what, 0)) != expected
    ]
