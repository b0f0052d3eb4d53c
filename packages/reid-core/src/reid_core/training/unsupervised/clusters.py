"""Clusters of near rows and their centroids: the pseudo labels of unlabelled images."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn.cluster import DBSCAN
from sklearn.preprocessing import normalize

from reid_core.training.unsupervised.config import EPS, MIN_SAMPLES


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


def within_cameras(features: np.ndarray, camids: np.ndarray) -> np.ndarray:
    """Features with mean 0 and deviation 1 in each camera, to be compared for people and not for cameras.

    A camera's light and background move all of its features alike; a network that has not learned to overlook
    them puts one camera's images side by side, and clusters then hold a camera each. It is the statistics of
    camera-based batch normalisation (Zhuang et al., ECCV 2020), taken of the features.

    Args:
        features: float `[n d]`.
        camids: int64 `[n]`; a camera of one image takes the statistics of all.

    Returns:
        float32 `[n d]`.

    Example:
        >>> features = np.array([[1.0, 2.0], [3.0, 2.5], [11.0, 2.0], [13.0, 2.5]])
        >>> within_cameras(features, np.array([0, 0, 1, 1])).tolist()
        [[-1.0, -1.0], [1.0, 1.0], [-1.0, -1.0], [1.0, 1.0]]
    """
    standard = np.array(features, dtype=np.float32)
    for camera, count in zip(*np.unique(camids, return_counts=True), strict=True):
        rows = camids == camera
        own = features[rows] if count > 1 else features
        standard[rows] -= own.mean(axis=0, dtype=np.float32)
        standard[rows] /= np.maximum(own.std(axis=0, dtype=np.float32), 1e-6)
    return standard


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
