"""The criteria of denoising: how tight an identity must be, how far from others, and how far to look."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Level = Literal["tracklet", "video", "cross_video"]
Order = Literal["given", "feature"]
Linking = Literal["closure", "mutual", "average"]
"""How near tracklets become one identity; see `reid_denoise.linking`."""
LINKINGS: tuple[Linking, ...] = ("closure", "mutual", "average")
LEVELS: tuple[Level, ...] = ("tracklet", "video", "cross_video")
"""The levels in their order; each includes those before it."""

FURTHEST_COSINE = 2.0
FITTED_METRICS = ("mahalanobis", "seuclidean")
"""They scale by a covariance of whatever they are given, so that a distance would depend on the block."""


@dataclass(frozen=True)
class Criteria:
    """CION's three settings, with its values as defaults (section 4.1), and the distance that they speak of.

    Args:
        consistency: sigma_cst, a distance; an image this far from its identity's centroid, or farther, is
            noise (CION 4.1: 0.2)
        discrimination: sigma_drm, a distance; two identities whose centroids are this near, or nearer, are
            one (CION 4.1: 0.18)
        half_range: r_s, tracklets to either side that are compared with one, in the order of the videos (CION
            4.1: 1000)
        metric: cosine, on normalised features (CION 4.1), or another name that scipy.spatial.distance.cdist
            takes, such as euclidean, on features as they are

    Raises:
        ValueError: a threshold out of the metric's range, a negative half_range, or no such metric.

    Example:
        >>> Criteria(consistency=0.3)
        Criteria(consistency=0.3, discrimination=0.18, half_range=1000, metric='cosine')
    """

    consistency: float = 0.2
    discrimination: float = 0.18
    half_range: int = 1000
    metric: str = "cosine"

    def __post_init__(self) -> None:
        if self.metric != "cosine":
            _check_metric(self.metric)
        furthest = FURTHEST_COSINE if self.metric == "cosine" else math.inf
        for name in ("consistency", "discrimination"):
            value = getattr(self, name)
            if not (0 < value <= furthest and math.isfinite(value)):
                raise ValueError(f"{name}={value}: expected a {self.metric} distance in (0, {furthest:g}]")
        if self.half_range < 0 or self.half_range != int(self.half_range):
            raise ValueError(f"half_range={self.half_range}: expected a number of tracklets, 0 or more")


def _check_metric(metric: str) -> None:
    import numpy as np  # late, so that a command line starts at once
    from scipy.spatial.distance import cdist

    if metric in FITTED_METRICS:
        raise ValueError(f"metric={metric!r} is fitted to the data; scale the features first instead")
    try:
        cdist(np.eye(2), np.eye(2), metric)
    except (ValueError, TypeError) as error:
        raise ValueError(f"metric={metric!r}: expected one of scipy's distances; {error}") from None
