"""What can be said of the people that were found while nobody knows who they are."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from reid_denoise import score
from reid_gallery.identities.decisions import Constraints
from reid_gallery.identities.linking import Linked, group, people
from reid_gallery.identities.tracklets import Tracklets

MOST_TRACKLETS = 4000
"""Tracklets, of whole videos from the first on, that links are tried on again."""
RESAMPLES = 5
TRUSTED = {"violated": 0.01, "stability": 0.9}
DOUBTED = {"violated": 0.05, "stability": 0.7}


@dataclass(frozen=True)
class Quality:
    """Quality without labels.

    Args:
        noise_before: n_S of the tracklets as they came (CION, Eq. 3).
        noise_after: n_S of the people found.
        violated: share of the pairs that are seen beside each other that would be one person if that were not
            known; None where no pair is.
        constrained: number of such pairs.
        stability: pairwise F1 of the people found with half of each tracklet's images, mean over RESAMPLES
            draws, against those found with all.
        links: pairs of tracklets that are one person.
        tracklets: on which the last four were measured.
    """

    noise_before: float
    noise_after: float
    violated: float | None
    constrained: int
    stability: float
    links: int
    tracklets: int

    @property
    def verdict(self) -> str:
        """A sentence on whether to trust the people found.

        Example:
            >>> Quality(0.5, 0.1, 0.0, 100, 0.95, 30, 50).verdict[:20]
            'They can be trusted:'
        """
        if not self.links:
            return "No two tracklets were linked, so that there is nothing to trust."
        wrong = "no two people are known to differ"
        if self.violated is not None:
            wrong = (
                f"{100 * self.violated:.1f} % of {self.constrained:,} pairs known to differ would be joined"
            )
        why = f"{wrong}; with half of the images {100 * self.stability:.0f} % of the links are the same"
        if self._within(TRUSTED):
            return f"They can be trusted: {why}."
        if self._within(DOUBTED):
            return f"Look at the uncertain links before you use them: {why}."
        return f"Don't trust them: {why}. Another model, longer tracklets or more answers are needed."

    def _within(self, bounds: dict[str, float]) -> bool:
        # Without a known pair nothing speaks against false links: that is no reason to trust.
        violated = DOUBTED["violated"] if self.violated is None else self.violated
        return violated <= bounds["violated"] and self.stability >= bounds["stability"]

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it, with the verdict."""
        return asdict(self) | {"verdict": self.verdict}


def measure(tracklets: Tracklets, linked: Linked, constraints: Constraints, seed: int) -> Quality:
    """Measure quality without labels.

    Args:
        tracklets: all of them.
        linked: the people found.
        constraints: that they were found under.
        seed: of the resampled images.
    """
    size = _whole_videos(tracklets.table["video"].to_numpy())
    images = int(np.searchsorted(tracklets.of_image, size))
    some = replace(
        tracklets,
        table=tracklets.table.iloc[:size],
        images=tracklets.images.iloc[:images],
        features=tracklets.features[:images],
        valid=tracklets.valid[:images],
    )
    features = linked.features[:images]
    known = constraints.must[(constraints.must < size).all(axis=1)]
    differ = constraints.cannot[(constraints.cannot < size).all(axis=1)]
    held = constraints._replace(cannot=differ, must=known)

    def link_again(valid: np.ndarray, limits: Constraints) -> np.ndarray:
        _, identity = group(some, features, valid, limits, linked.criteria)
        return people(some.of_image, identity, size)

    whole = linked.person if size == len(linked.person) else link_again(some.valid, held)
    rng = np.random.default_rng(seed)
    stability = [
        score(link_again(some.valid & _half(some.of_image, rng), held), whole).f1 for _ in range(RESAMPLES)
    ]
    free = link_again(some.valid, held._replace(cannot=differ[:0]))
    levels = linked.report.levels
    return Quality(
        noise_before=levels[0].before.n_s,
        noise_after=levels[-1].after.n_s,
        violated=float(np.mean(free[differ[:, 0]] == free[differ[:, 1]])) if len(differ) else None,
        constrained=len(differ),
        stability=float(np.mean(stability)),
        links=int(sum(count * (count - 1) // 2 for count in np.bincount(whole).tolist())),
        tracklets=size,
    )


def _whole_videos(videos: np.ndarray) -> int:
    """Number of the first tracklets that are whole videos: at most MOST_TRACKLETS, or the first video."""
    if len(videos) <= MOST_TRACKLETS:
        return len(videos)
    ends = np.append(np.flatnonzero(np.diff(videos)) + 1, len(videos))
    whole = int(np.searchsorted(ends, MOST_TRACKLETS, side="right"))
    return int(ends[max(0, whole - 1)])


def _half(of_image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half of each tracklet's images, rounded up."""
    order = np.lexsort((rng.random(len(of_image)), of_image))
    sizes = np.bincount(of_image)
    place = np.arange(len(of_image)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    chosen = np.zeros(len(of_image), dtype=bool)
    chosen[order] = place < (np.repeat(sizes, sizes) + 1) // 2
    return chosen
