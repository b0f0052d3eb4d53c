"""Single-video denoising: dropped images find another tracklet, near tracklets merge (CION, Eqs. 5 and 6)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from reid_denoise.constraints import NO_PAIRS, UNCONSTRAINED, Constraints
from reid_denoise.criteria import Criteria, Linking
from reid_denoise.distances import TILE, centroids, close_pairs, distances, prepare_rows, sums
from reid_denoise.layout import NOWHERE, PIECE, pieces
from reid_denoise.linking import Candidates, group
from reid_denoise.tracklet import single_tracklet


def reallocate(
    features: np.ndarray,
    owners: np.ndarray,
    centres: np.ndarray,
    counts: np.ndarray,
    videos: np.ndarray,
    criteria: Criteria,
) -> np.ndarray:
    """Give dropped images to the nearest other tracklet of their video nearer than sigma_cst (Eq. 5).

    All are compared with the centroids that single-tracklet denoising left, so their order has no influence.
    Of equally near tracklets the first is taken; one that is empty takes none.

    Args:
        features: dropped images, prepared, float32 [n d], ordered by owner.
        owners: int64 [n], tracklet each was dropped from.
        centres: prepared, float32 [t d].
        counts: int64 [t], images left in each tracklet.
        videos: int64 [t], ascending.
        criteria: consistency and metric are used.

    Returns:
        int64 [n], the new tracklet, or -1 for discarded.

    Example:
        >>> centres = np.eye(2, dtype=np.float32)
        >>> dropped, owners = np.array([[0.1, 0.9], [-1.0, 0.0]], dtype=np.float32), np.array([0, 1])
        >>> reallocate(
        ...     dropped, owners, centres, np.array([2, 2]), np.zeros(2, dtype=int), Criteria()
        ... ).tolist()
        [1, -1]
    """
    target = np.full(len(features), NOWHERE, dtype=np.int64)
    for begin, end in video_ranges(videos):
        first, last = np.searchsorted(owners, [begin, end])
        candidates = begin + np.flatnonzero(counts[begin:end])
        if first == last or not len(candidates):
            continue
        height = max(1, TILE[0] * TILE[1] // len(candidates))
        for top in range(first, last, height):
            bottom = min(top + height, last)
            tile = distances(features[top:bottom], centres[candidates], criteria.metric)
            tile[owners[top:bottom, None] == candidates] = np.inf
            nearest = tile.argmin(axis=1)
            near = tile[np.arange(bottom - top), nearest] < criteria.consistency
            target[top:bottom] = np.where(near, candidates[nearest], NOWHERE)
    return target


def merge(
    centres: np.ndarray,
    counts: np.ndarray,
    videos: np.ndarray,
    criteria: Criteria,
    linking: Linking = "closure",
    constraints: Constraints = UNCONSTRAINED,
) -> np.ndarray:
    """Merge tracklets of a video whose centroids are within sigma_drm (Eq. 6).

    Args:
        centres: prepared, float32 [t d].
        counts: int64 [t]; a tracklet without images merges with none.
        videos: int64 [t], ascending.
        criteria: discrimination and metric are used.
        linking: how near ones become one; by the paper's closure, chains of them do.
        constraints: by the tracklets' numbers here.

    Returns:
        int64 [t], the first tracklet of those that each merges with, or itself.

    Example:
        >>> centres = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]], dtype=np.float32)
        >>> merge(centres, np.ones(4, dtype=int), np.array([0, 0, 0, 1]), Criteria()).tolist()
        [0, 1, 0, 3]
    """
    pairs, distances = [NO_PAIRS], [np.empty(0)]
    for begin, end in video_ranges(videos):
        present = begin + np.flatnonzero(counts[begin:end])
        size = len(present)
        for one, other, distance in close_pairs(
            centres[present], size, size, criteria.discrimination, criteria.metric
        ):
            pairs.append(np.stack([present[one], present[other]], axis=1))
            distances.append(distance)
    found = Candidates(np.concatenate(pairs), np.concatenate(distances))
    held = constraints.rename(np.where(counts, np.arange(len(counts)), NOWHERE))
    together = videos[held.must[:, 0]] == videos[held.must[:, 1]]
    return group(found, centres, videos, linking, criteria, held._replace(must=held.must[together]))


def video_ranges(videos: np.ndarray) -> Iterator[tuple[int, int]]:
    """First tracklet, and the one after the last, of each video in an ascending column.

    Example:
        >>> list(video_ranges(np.array([4, 4, 7])))
        [(0, 2), (2, 3)]
    """
    bounds = np.flatnonzero(np.diff(videos, prepend=-1, append=-1))
    return zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)


def denoise_block(
    features: np.ndarray,
    lengths: np.ndarray,
    videos: np.ndarray,
    criteria: Criteria,
    within_videos: bool,
    linking: Linking = "closure",
    constraints: Constraints = UNCONSTRAINED,
) -> tuple[np.ndarray, np.ndarray]:
    """Single-tracklet and single-video denoising of some whole videos (Eqs. 4 to 6).

    Args:
        features: float [n d], a tracklet's rows one after the other; may be memory-mapped, as it is read in
            pieces of whole tracklets.
        lengths: int64 [t], rows of each tracklet.
        videos: int64 [t], ascending, from 0 on.
        criteria: of denoising.
        within_videos: whether to do single-video denoising too.
        linking: how near tracklets become one.
        constraints: by the tracklets' numbers here.

    Returns:
        bool [n], whether single-tracklet denoising keeps the image, and int64 [n], the tracklet that it
        belongs to in the end (the first of those merged), -1 for none.

    Example:
        >>> rows = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1], [0, 1], [1, 0.1]])
        >>> denoise_block(rows, np.array([3, 2, 1]), np.array([0, 0, 0]), Criteria(), True)
        (array([ True,  True, False,  True,  True,  True]), array([0, 0, 1, 1, 1, 0]))
    """
    metric = criteria.metric
    owners = np.repeat(np.arange(len(lengths)), lengths)
    kept = np.ones(len(owners), dtype=bool)
    totals = np.zeros((len(lengths), features.shape[1]), dtype=np.float32)
    for piece, rows in pieces(lengths):
        part = prepare_rows(features[rows], metric)
        kept[rows] = single_tracklet(part, lengths[piece], criteria)
        totals[piece] = sums(
            part[kept[rows]], owners[rows][kept[rows]] - piece.start, piece.stop - piece.start
        )
    target = np.where(kept, owners, NOWHERE)
    if not within_videos:
        return kept, target
    counts = np.bincount(owners[kept], minlength=len(lengths))
    centres = centroids(totals, counts, metric)
    dropped = np.flatnonzero(~kept)
    for at in range(0, len(dropped), PIECE):
        some = dropped[at : at + PIECE]
        part = prepare_rows(features[some], metric)
        target[some] = reallocate(part, owners[some], centres, counts, videos, criteria)
        found = target[some] != NOWHERE
        totals += sums(part[found], target[some][found], len(lengths))
    counts = np.bincount(target[target != NOWHERE], minlength=len(lengths))
    merged = merge(centroids(totals, counts, metric), counts, videos, criteria, linking, constraints)
    return kept, np.where(target == NOWHERE, NOWHERE, merged[target])
