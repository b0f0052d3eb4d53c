"""An order of the videos in which likely matches lie near each other (for CION's stated limitation, A.2)."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import reverse_cuthill_mckee

from reid_denoise.criteria import Criteria
from reid_denoise.distances import paired_distances

TABLES, BITS = 12, 16
"""Hash tables, and bits of each: a pair 30 degrees apart shares a bucket in about half of the cases."""
BUCKET = 32
"""Places in a bucket that a tracklet is compared with, so that a bucket of duplicates stays linear."""


def order_videos(
    centres: np.ndarray, videos: np.ndarray, size: int, criteria: Criteria, seed: int = 0
) -> np.ndarray:
    """Order videos so that those with similar tracklets follow each other.

    Candidates are tracklets whose centroids lie on the same side of random hyperplanes (locality-sensitive
    hashing); those within sigma_drm join their videos in a graph, and reverse Cuthill-McKee gives its nodes
    an order in which joined videos are near. Time and memory are linear in the number of tracklets.

    Args:
        centres: prepared, float32 [n d]; may be memory-mapped.
        videos: int64 [n], video of each centroid, 0 to size - 1.
        size: number of videos.
        criteria: discrimination and metric are used.
        seed: of the hyperplanes.

    Returns:
        int64 [size], place of each video.

    Example:
        >>> centres = np.eye(4, dtype=np.float32)[[0, 1, 2, 0]]
        >>> place = order_videos(centres, np.arange(4), 4, Criteria())
        >>> abs(int(place[0] - place[3]))
        1
    """
    rng = np.random.default_rng(seed)
    middle = np.zeros(centres.shape[1]) if criteria.metric == "cosine" else centres.mean(axis=0)
    joined = []
    for _ in range(TABLES):
        planes = rng.normal(size=(centres.shape[1], BITS)).astype(np.float32)
        sides = centres @ planes > middle @ planes
        codes = sides @ (1 << np.arange(BITS))
        order = np.argsort(codes, kind="stable")
        for step in range(1, min(BUCKET, len(order))):
            one, other = order[:-step], order[step:]
            candidate = (codes[one] == codes[other]) & (videos[one] != videos[other])
            if not candidate.any():
                continue
            one, other = one[candidate], other[candidate]
            near = paired_distances(centres[one], centres[other], criteria.metric) <= criteria.discrimination
            joined.append(np.stack([videos[one[near]], videos[other[near]]], axis=1))
    pairs = np.concatenate([np.empty((0, 2), dtype=np.int64), *joined])
    pairs = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
    graph = coo_array((np.ones(len(pairs), dtype=np.int8), (pairs[:, 0], pairs[:, 1])), shape=(size, size))
    place = np.empty(size, dtype=np.int64)
    place[reverse_cuthill_mckee(graph.tocsr(), symmetric_mode=True)] = np.arange(size)
    return place
