"""How near found identities come to known ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.metrics.cluster import adjusted_rand_score, pair_confusion_matrix

from reid_denoise.layout import Ids, as_ids


class Scores(NamedTuple):
    """Agreement of found and known identities over pairs of images.

    Attributes:
        precision: pairs found to be of one person that are.
        recall: pairs of one person that were found to be.
        f1: harmonic mean of the two.
        ari: adjusted Rand index.
    """

    precision: float
    recall: float
    f1: float
    ari: float


def score(identity: Ids, truth: Ids) -> Scores:
    """Compare found identities with known ones; a discarded image is alone, so that it costs recall.

    Args:
        identity: int [n], found; -1 for discarded.
        truth: int [n], known; -1 leaves an image out of the comparison.

    Returns:
        The scores; precision without a found pair and recall without a known one are 1.

    Raises:
        TypeError, ValueError: ids that are no integers, lengths that differ, nothing to compare.

    Example:
        >>> score([0, 0, 0, -1], [5, 5, 6, 5])
        Scores(precision=0.333, recall=0.333, f1=0.333, ari=-0.333)
    """
    known = as_ids(truth, "truth", len(truth), least=-1)
    found = as_ids(identity, "identity", len(known), least=-1)[known >= 0]
    known = known[known >= 0]
    if not len(known):
        raise ValueError("truth: no image has a known identity")
    alone = found == -1
    found = np.where(alone, found.max() + np.cumsum(alone), found)
    (_, wrong), (missed, right) = pair_confusion_matrix(known, found).tolist()
    precision = right / (right + wrong) if right + wrong else 1.0
    recall = right / (right + missed) if right + missed else 1.0
    f1 = 2 * right / (2 * right + wrong + missed) if right + wrong + missed else 1.0
    return Scores(precision, recall, f1, float(adjusted_rand_score(known, found)))
