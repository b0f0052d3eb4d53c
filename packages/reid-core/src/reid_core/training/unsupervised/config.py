"""Settings of Cluster Contrast; no torch is imported here, so that a configuration is read at once."""

from __future__ import annotations

from dataclasses import dataclass

K1, K2 = 30, 6
"""Neighbours of the encoding, neighbours averaged over (the code of SpCL and Cluster Contrast)."""
EPS = 0.6
"""Largest distance of neighbours in a cluster (Cluster Contrast's code); 0.7 on MSMT17 (TransReID-SSL's)."""
MIN_SAMPLES = 4
"""Neighbours, itself among them, that make a row the core of a cluster (Cluster Contrast's code)."""
MOMENTUM = 0.1
"""What a centroid keeps of itself at each update (Cluster Contrast's code)."""
TEMPERATURE = 0.05
"""Of the similarities (Cluster Contrast's code)."""


@dataclass(frozen=True)
class ClusterContrastConfig:
    """Settings of Cluster Contrast; the defaults are its published code's on Market-1501.

    Example:
        >>> msmt17 = ClusterContrastConfig(eps=0.7)
        >>> msmt17.identities * msmt17.instances
        256
    """

    rounds: int = 50
    """Times that the images are clustered and trained on; the published code's epochs."""
    colour_rounds: int = 0
    """Number of first rounds in which images are clustered by their colours within cameras (`StripeColours`),
    for weights that can't tell people apart yet; not in that code."""
    identities: int = 16
    """Clusters per batch; fewer where there are fewer clusters."""
    instances: int = 16
    """Images per cluster in a batch."""
    k1: int = K1
    """Neighbours of the k-reciprocal encoding, at most the number of images (published code: 30)."""
    k2: int = K2
    """Nearest encodings that are averaged (published code: 6)."""
    eps: float = EPS
    """Largest Jaccard distance, between 0 and 1, of two neighbours in a cluster (published code: 0.6;
    TransReID-SSL on MSMT17: 0.7)."""
    min_samples: int = MIN_SAMPLES
    """Neighbours, itself among them, that make an image the core of a cluster (published code: 4)."""
    within_cameras: bool = False
    """Whether images are compared by their features' place among those of their camera; not in that code."""
    momentum: float = MOMENTUM
    """Share of itself that a centroid keeps at each update, from 0 to 1 (published code: 0.1)."""
    temperature: float = TEMPERATURE
    """Temperature that similarities to the centroids are divided by (published code: 0.05)."""
    hardest: bool = False
    """Whether a centroid is moved by the batch's hardest instance alone, rather than by each."""
    decay_every: int = 20
    """Rounds after which the learning rate is multiplied by `decay`."""
    decay: float = 0.1
    """Factor of the learning rate every `decay_every` rounds; more than 0, at most 1."""

    def __post_init__(self) -> None:
        for name in ("rounds", "identities", "instances", "min_samples", "decay_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; it must be at least 1")
        if not 0 <= self.colour_rounds <= self.rounds:
            raise ValueError(f"colour_rounds={self.colour_rounds}; expected 0 to rounds={self.rounds}")
        if not 0 < self.eps < 1 or not 0 < self.decay <= 1:
            raise ValueError(f"eps={self.eps}, decay={self.decay}; expected 0 < eps < 1 and 0 < decay <= 1")
