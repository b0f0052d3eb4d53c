from .clusters import centroids, cluster, within_cameras
from .colours import StripeColours
from .config import ClusterContrastConfig
from .memory import ClusterMemory
from .neighbours import jaccard_distance
from .training import train_clusters

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
