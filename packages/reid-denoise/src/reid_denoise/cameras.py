"""Features without what their cameras have in common, so that tracklets of two cameras can be compared."""

from __future__ import annotations

import numpy as np

from reid_denoise.distances import prepare_rows, sums
from reid_denoise.layout import NOWHERE, Ids, as_ids, as_valid, check_rows, check_shape, row_ranges

PRIOR = 10
"""Tracklets that the mean over all cameras counts for in each camera's own mean."""


def center_by_camera(
    features: np.ndarray,
    tracklets: Ids,
    cameras: Ids,
    *,
    valid: np.ndarray | None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Subtract the mean feature of each image's camera, then scale to unit length.

    An extractor sees light and background, too: two people that one camera saw may be nearer than one
    person that two saw. Song et al., Exploring the Camera Bias of Person Re-identification (ICLR 2025),
    subtract the camera's mean (and divide by its standard deviation, which changed nothing measurable
    here). The mean is of the camera's tracklets, each counting once, so that nobody who waits for an hour
    dominates it. The mean of all tracklets counts as PRIOR more, so that a camera that saw few people keeps
    their differences.

    The mean of a few people is mostly the people themselves: it takes some dozens before there is a gain.

    Args:
        features: float [n d]; may be memory-mapped.
        tracklets: int [n]; -1 for an image without one, which is centered and has no part in the mean.
        cameras: int [n], 0 or more.
        valid: bool [n], False where a row holds no feature; such a row becomes zero. None: all hold one.
        out: float [n d], array to write to, such as a memory-mapped file; None for a new one of float32.

    Returns:
        `out`.

    Raises:
        TypeError, ValueError: bad input; the argument and the row are named.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> person, camera = np.tile(np.arange(50), 2), np.repeat([0, 1], 50)
        >>> features = rng.normal(size=(50, 16))[person] + 2 * rng.normal(size=(2, 16))[camera]
        >>> for rows in (features, center_by_camera(features, np.arange(100), camera, valid=None)):
        ...     nearest = (rows[:50] @ rows[50:].T).argmax(axis=1)
        ...     print(float(np.mean(nearest == np.arange(50))))
        0.62
        1.0
    """
    check_shape(features)
    size, width = features.shape
    mask = as_valid(valid, size)
    tracklet = np.where(mask, as_ids(tracklets, "tracklets", size, least=NOWHERE), NOWHERE)
    camera = as_ids(cameras, "cameras", size, least=0)
    check_rows(features, "cosine", mask)
    if out is not None and out.shape != features.shape:
        raise ValueError(f"out has shape {out.shape}; expected that of features, {features.shape}")
    names, lens = np.unique(camera, return_inverse=True)
    counted = tracklet != NOWHERE
    if not counted.any():
        raise ValueError("tracklets, valid: every image is left out (-1, or without a feature)")
    # A tracklet counts once in each camera that it is seen by.
    codes, owner, lengths = np.unique(
        tracklet[counted] * len(names) + lens[counted], return_inverse=True, return_counts=True
    )
    weight = np.zeros(size)
    weight[counted] = 1 / lengths[owner]
    totals = np.zeros((len(names), width))
    for begin, end in row_ranges(features):
        rows = prepare_rows(features[begin:end], "cosine")
        rows[~mask[begin:end]] = 0
        totals += sums(rows * weight[begin:end, None].astype(np.float32), lens[begin:end], len(names))
    number = np.bincount(codes % len(names), minlength=len(names))[:, None]
    overall = totals.sum(axis=0) / number.sum()
    means = ((totals + PRIOR * overall) / (number + PRIOR)).astype(np.float32)
    result = np.empty((size, width), dtype=np.float32) if out is None else out
    for begin, end in row_ranges(features):
        rows = prepare_rows(features[begin:end], "cosine") - means[lens[begin:end]]
        rows[~mask[begin:end]] = 0
        result[begin:end] = prepare_rows(rows, "cosine")
    return result
