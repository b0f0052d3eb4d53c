"""Clusters of near rows and their centroids: the pseudo labels of unlabelled images."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn.cluster import DBSCAN
from sklearn.preprocessing import normalize

from reid_core.unsupervised.neighbours import EPS

MIN_SAMPLES = 4
"""Neighbours, itself among them, that make a row the core of a cluster (Cluster Contrast's code)."""


def cluster(distances: sparse.csr_array, eps: float = EPS, min_samples: int = MIN_SAMPLES) -> np.ndarray:
    """Cluster rows with DBSCAN (Ester et al., KDD 1996) on a sparse matrix of distances.

    Args:
        distances: sparse `[n n]`, as `jaccard_distance` gives them: pairs that aren't stored are far.
        eps: largest distance of two neighbours in a cluster; no more than that the distances were made with.
        min_samples: neighbours within eps, itself among them, of a cluster's core row.

    Returns:
        int64 `[n]`: cluster from 0, -1 for outliers.

    Example:
        >>> near = np.where(np.kron(np.eye(2), np.ones((4, 4))), 0.1, 0)
        >>> cluster(sparse.csr_array(near)).tolist()
        [0, 0, 0, 0, 1, 1, 1, 1]
    """
    found = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed").fit_predict(distances)
    return found.astype(np.int64)


def centroids(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean direction of each cluster's features, of unit length.

    Args:
        features: float `[n d]`; only their directions count.
        labels: int64 `[n]`, cluster of each row from 0, -1 for outliers.

    Returns:
        float32 `[clusters d]`.

    Example:
        >>> centroids(np.array([[2.0, 0.0], [0.0, 3.0], [0.0, 1.0]]), np.array([-1, 0, 0])).tolist()
        [[0.0, 1.0]]
    """
    rows = np.flatnonzero(labels >= 0)
    shape = (int(labels.max(initial=-1)) + 1, len(labels))
    members = sparse.csr_array((np.ones(len(rows), dtype=np.float32), (labels[rows], rows)), shape=shape)
    return normalize(members @ normalize(np.asarray(features, dtype=np.float32)))
