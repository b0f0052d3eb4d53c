"""Single-tracklet denoising: images that deviate from the rest of their tracklet (CION, Eq. 4)."""

from __future__ import annotations

import numpy as np

from reid_denoise.criteria import Criteria
from reid_denoise.distances import centroids, paired_distances, sums

TIE = 1e-5
"""Deviations that differ by less are equal: rounding must not choose between duplicates."""


def single_tracklet(features: np.ndarray, lengths: np.ndarray, criteria: Criteria) -> np.ndarray:
    """Drop a tracklet's most deviating image while it is sigma_cst or more from the others' centroid (Eq. 4).

    All tracklets take their steps together; those in which nothing is left to drop fall out. Where several
    images deviate most equally, they all go, since nothing says which is right: two images that disagree
    empty their tracklet. An image that is alone, from the start or in the end, stays.

    Args:
        features: prepared, float32 [n d], a tracklet's rows one after the other.
        lengths: int64 [t], rows of each tracklet, 1 or more.
        criteria: consistency and metric are used.

    Returns:
        bool [n], whether the image stays.

    Example:
        >>> rows = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]], dtype=np.float32)
        >>> single_tracklet(rows, np.array([3, 1]), Criteria()).tolist()
        [True, False, True, True]
    """
    kept = np.ones(len(features), dtype=bool)
    rows = np.arange(len(features))
    owner = np.repeat(np.arange(len(lengths)), lengths)
    totals, counts = sums(features, owner, len(lengths)), np.array(lengths)
    while len(rows):
        others = centroids(totals[owner] - features, counts[owner] - 1, criteria.metric)
        deviation = paired_distances(features, others, criteria.metric)
        deviation[counts[owner] == 1] = -np.inf
        worst = np.maximum.reduceat(deviation, np.searchsorted(owner, np.arange(len(counts))))[owner]
        unsettled = worst >= criteria.consistency
        leaves = unsettled & (deviation >= worst - TIE)
        kept[rows[leaves]] = False
        totals -= sums(features[leaves], owner[leaves], len(counts))
        counts -= np.bincount(owner[leaves], minlength=len(counts))
        stays = unsettled & ~leaves
        active, owner = np.unique(owner[stays], return_inverse=True)
        rows, features = rows[stays], features[stays]
        totals, counts = totals[active], counts[active]
    return kept
