"""What denoising did, level by level."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from reid_denoise.criteria import Criteria
from reid_denoise.noise_metric import Noise


@dataclass(frozen=True)
class NoiseLevel:
    """Noise of a set, between two levels.

    Args:
        n_s: overall noise (Eq. 3).
        consistency: identities with intra-identity noise (Eq. 1).
        discrimination: inter-identity noise (Eq. 2), each pair of identities counted both ways, as in Eq. 3.
    """

    n_s: float
    consistency: int
    discrimination: int

    @classmethod
    def of(cls, noise: Noise) -> NoiseLevel:
        """Without what each identity adds."""
        return cls(noise.n_s, int(noise.consistency.sum()), int(noise.discrimination.sum()))


@dataclass(frozen=True)
class LevelReport:
    """What one level did.

    Args:
        level: tracklet, video or cross_video.
        images: with an identity after the level.
        identities: after the level.
        removed: images set aside (tracklet) or discarded for good (video).
        moved: images that were set aside and found another tracklet.
        emptied: tracklets left without an image.
        merged: identities that went into another one.
        before: noise before the level.
        after: noise after it.
    """

    level: str
    images: int
    identities: int
    removed: int
    moved: int
    emptied: int
    merged: int
    before: NoiseLevel
    after: NoiseLevel


@dataclass(frozen=True)
class Borderline:
    """A linking relation that only just holds.

    Args:
        distance: between the two centroids, at most sigma_drm.
        tracklets: ids, as given, of the two tracklets (of the first of each, where tracklets were merged).
    """

    distance: float
    tracklets: tuple[int, int]


@dataclass(frozen=True)
class Report:
    """What denoising did.

    Args:
        criteria: it was done by.
        order: of the videos.
        images: given with a tracklet.
        tracklets: given.
        videos: given.
        without_feature: rows that were marked as holding no feature.
        levels: what each level did. Noise counts the pairs of identities at most half_range places apart,
            which is what the method looks at; `noise` counts all.
        borderline: the links across videos that are nearest to sigma_drm, the nearest first.
        implausible: what looks as if the criteria did not fit the features, a sentence each.
    """

    criteria: Criteria
    order: str
    images: int
    tracklets: int
    videos: int
    without_feature: int
    levels: tuple[LevelReport, ...]
    borderline: tuple[Borderline, ...]
    implausible: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it.

        Example:
            >>> Report(Criteria(), "given", 0, 0, 0, 0, (), ()).to_dict()["criteria"]["half_range"]
            1000
        """
        return asdict(self)
