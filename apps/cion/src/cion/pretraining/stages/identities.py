"""Identities of images: what pre-training takes for a person, and how many of them it takes."""

from __future__ import annotations

import numpy as np

from reid_core.data.manifest import UNKNOWN, Manifest
from reid_core.data.samplers import permutation

DRAW = 3
"""Key of the draw of identities among those of a seed."""


def with_identities(rows: Manifest, identity: np.ndarray) -> Manifest:
    """The images that have an identity, with it as their pid, all for training.

    Args:
        rows: any.
        identity: int64 [n], -1 for discarded images.

    Returns:
        The manifest, without tracklets: an image may have moved to another one.

    Example:
        >>> import pandas as pd
        >>> from pathlib import Path
        >>> table = pd.DataFrame({"path": list("abc"), "split": "unlabeled"})
        >>> with_identities(Manifest(table, Path("/data")), np.array([4, -1, 4])).pids.tolist()
        [4, 4]
    """
    table = rows.table.assign(pid=identity, tracklet=UNKNOWN, split="train")
    return Manifest(table, rows.root, rows.name).where(identity >= 0)


def sample_identities(rows: Manifest, ratio: float, images: int | None, seed: int) -> Manifest:
    """Whole identities drawn at random, and all of their images.

    Args:
        rows: with pids.
        ratio: part of the identities (CION Fig. 6).
        images: of that part, as many identities as have together at most so many images (CION 4.1 and Fig. 5
            make all pools 3.9 million images); None for all.
        seed: of the order in which identities are drawn; a larger draw holds every smaller one.

    Returns:
        The images.

    Raises:
        ValueError: a ratio that leaves nobody, or fewer images than are asked for.

    Example:
        >>> import pandas as pd
        >>> from pathlib import Path
        >>> table = pd.DataFrame({"path": list("abcdef"), "split": "train", "pid": [1, 1, 2, 2, 3, 3]})
        >>> rows = Manifest(table, Path("/data"))
        >>> len(sample_identities(rows, 1.0, 5, seed=0)), len(sample_identities(rows, 0.3, None, seed=0))
        (4, 2)
    """
    people, counts = np.unique(rows.pids, return_counts=True)
    order = permutation(len(people), seed, DRAW)[: round(ratio * len(people))]
    if not len(order):
        raise ValueError(f"pretrain.ratio={ratio} of {len(people)} identities leaves nobody: raise it")
    if images is not None:
        total = np.cumsum(counts[order])
        if total[-1] < images:
            raise ValueError(
                f"data.images={images}, but {rows.name} has {total[-1]} images with an identity here: give at"
                " most as many, so that all variants have equally many"
            )
        order = order[: max(1, int(np.searchsorted(total, images, side="right")))]
    return rows.where(np.isin(rows.pids, people[order]))
