"""Learning from unlabelled images: Cluster Contrast (Dai et al., ACCV 2022), a step a file."""

from reid_core.unsupervised.clusters import centroids, cluster, within_cameras
from reid_core.unsupervised.colours import StripeColours
from reid_core.unsupervised.memory import ClusterMemory
from reid_core.unsupervised.neighbours import jaccard_distance
from reid_core.unsupervised.training import ClusterContrastConfig, train_clusters

__all__ = [
    "ClusterContrastConfig",
    "ClusterMemory",
    "StripeColours",
    "centroids",
    "cluster",
    "jaccard_distance",
    "train_clusters",
    "within_cameras",
]
