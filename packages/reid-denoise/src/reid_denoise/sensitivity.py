"""How much the outcome depends on the criteria: a grid of them as a table."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd

from reid_denoise.criteria import Criteria
from reid_denoise.layout import Ids
from reid_denoise.mapping import Progress, silent
from reid_denoise.pipeline import Order, denoise
from reid_denoise.plausibility import ImplausibleIdentities
from reid_denoise.scores import score

VARIED = ("consistency", "discrimination", "half_range")


def sweep(
    features: np.ndarray,
    tracklets: Ids,
    videos: Ids,
    *,
    valid: np.ndarray | None,
    consistency: Sequence[float] = (0.1, 0.15, 0.2, 0.25, 0.3),
    discrimination: Sequence[float] = (0.1, 0.14, 0.18, 0.22, 0.26),
    half_range: Sequence[int] = (1000,),
    truth: Ids | None = None,
    metric: str = "cosine",
    order: Order = "given",
    progress: Progress = silent,
) -> pd.DataFrame:
    """Denoise with every combination of criteria.

    Args:
        features: float [n d], as `denoise` takes it, with the next three.
        tracklets: int [n].
        videos: int [n].
        valid: bool [n] or None.
        consistency: values of sigma_cst.
        discrimination: values of sigma_drm.
        half_range: values of r_s.
        truth: int [n], known identities, -1 for unknown; without them there are no scores.
        metric: see `Criteria`.
        order: of the videos.
        progress: shows how far it is.

    Returns:
        One row per combination: the three criteria, identities, images kept and identities per tracklet (as
            parts
        of 1), n_s (by the row's own criteria, within its range), and with truth precision, recall, f1 and
        ari.

    Raises:
        TypeError, ValueError: as `denoise`; all criteria are checked before the first run.

    Example:
        >>> rows = np.eye(4)[[0, 0, 1, 0, 0]]
        >>> table = sweep(
        ...     rows,
        ...     [0, 0, 0, 1, 1],
        ...     [0, 0, 0, 1, 1],
        ...     valid=None,
        ...     consistency=[0.2],
        ...     discrimination=[0.1, 0.2],
        ... )
        >>> table[["discrimination", "identities", "kept"]].values.tolist()
        [[0.1, 1.0, 0.8], [0.2, 1.0, 0.8]]
    """
    grid = [Criteria(*values, metric=metric) for values in product(consistency, discrimination, half_range)]
    rows = []
    for criteria in progress(grid, "sweep", len(grid)):
        with warnings.catch_warnings():  # the table shows what such a warning says
            warnings.simplefilter("ignore", ImplausibleIdentities)
            result = denoise(features, tracklets, videos, criteria, valid=valid, order=order)
        last = result.report.levels[-1]
        rows.append(
            {
                **{name: getattr(criteria, name) for name in VARIED},
                "identities": last.identities,
                "kept": last.images / result.report.images,
                "reduction": last.identities / result.report.tracklets,
                "n_s": last.after.n_s,
                **({} if truth is None else score(result.identity, truth)._asdict()),
            }
        )
    return pd.DataFrame(rows)
