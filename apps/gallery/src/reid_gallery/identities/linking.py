"""Tracklets of all cameras to people: centering, criteria, constraints, and reid-denoise's average
linkage."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reid_core.files import create_memmap
from reid_denoise import Criteria, Linking, Report, calibrate_criteria, center_by_camera, denoise
from reid_denoise.plausibility import ImplausibleIdentities
from reid_gallery.identities.decisions import Constraints
from reid_gallery.identities.tracklets import Tracklets

LINKING: Linking = "average"
"""Of reid-denoise's ways to link, the best one on real people (benchmarks/denoise_real.py)."""
FEWEST_CENTERED = 30
"""Tracklets of a camera from which their mean says more of the camera than of the people."""
CENTER = ("auto", "yes", "no")


@dataclass(frozen=True)
class LinkConfig:
    """How tracklets are linked.

    Args:
        criteria: JSON file of `reid-denoise calibrate`; None calibrates on the tracklets themselves.
        center: whether features are centered by camera; auto does so where there are several cameras with
            FEWEST_CENTERED tracklets or more each.
        half_range: tracklets to either side, in the order of the videos, that one is compared with.
        seed: of the draws.
    """

    criteria: str | None = None
    center: str = "auto"
    half_range: int = 5000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.center not in CENTER:
            raise ValueError(f"center={self.center!r}: expected one of {', '.join(CENTER)}")


class Linked(NamedTuple):
    """People.

    Attributes:
        person: int64 [tracklets], numbered from 1 in the order of their first tracklets.
        image: int64 [images], person of each image; 0 for one that denoising discarded.
        criteria: that they were found by.
        features: float32 [images d], centered where that was asked for.
        report: of reid-denoise.
    """

    person: np.ndarray
    image: np.ndarray
    criteria: Criteria
    features: np.ndarray
    report: Report


def is_centered(tracklets: Tracklets, center: str) -> bool:
    """Whether features are to be centered by camera.

    Args:
        tracklets: all of them.
        center: auto, yes or no.
    """
    if center != "auto":
        return center == "yes"
    sizes = tracklets.table["camera"].value_counts()
    return len(sizes) > 1 and bool(sizes.min() >= FEWEST_CENTERED)


def link(
    tracklets: Tracklets, constraints: Constraints, config: LinkConfig, work: Path, **how: Any
) -> Linked:
    """Find out who is who.

    Args:
        tracklets: all of them.
        constraints: pairs that are never, or surely, one person.
        config: how.
        work: folder for unfinished work, from which a killed run resumes.
        how: `mapper` and `progress` of `reid_denoise.denoise`.

    Raises:
        ValueError: too few tracklets to calibrate criteria by; it says what to give instead.
    """
    features = tracklets.features
    if is_centered(tracklets, config.center):
        out = create_memmap(work / "centered.npy", features.shape, "float32")
        cameras = tracklets.per_image("camera")
        features = center_by_camera(features, tracklets.of_image, cameras, valid=tracklets.valid, out=out)
    criteria = choose_criteria(tracklets, features, constraints, config)
    report, image = group(
        tracklets, features, tracklets.valid, constraints, criteria, folder=work / "denoise", **how
    )
    person = people(tracklets.of_image, image, len(tracklets.table))
    return Linked(*number_people(person, image), criteria, features, report)


def choose_criteria(
    tracklets: Tracklets, features: np.ndarray, constraints: Constraints, config: LinkConfig
) -> Criteria:
    """Those of a file, or calibrated on the tracklets by pairs of one tracklet and of one time.

    Args:
        tracklets: all of them.
        features: float [images d].
        constraints: pairs that are never one person.
        config: criteria, half_range and seed are used.
    """
    if config.criteria is not None:
        try:
            given = json.loads(Path(config.criteria).read_text(encoding="utf-8"))
            criteria = Criteria(**given["criteria"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{config.criteria}: expected what `reid-denoise calibrate` writes ({error})"
            ) from error
        return replace(criteria, half_range=config.half_range)
    try:
        return calibrate_criteria(
            features,
            tracklets.of_image,
            tracklets.per_image("video"),
            valid=tracklets.valid,
            cannot_link=constraints.cannot,
            linking=LINKING,
            half_range=config.half_range,
            seed=config.seed,
        ).criteria
    except ValueError as error:
        raise ValueError(
            f"criteria can't be calibrated on {len(tracklets.table)} tracklets ({error}); give --criteria, a "
            "file of `reid-denoise calibrate` on more of them with this model's features"
        ) from error


def group(
    tracklets: Tracklets,
    features: np.ndarray,
    valid: np.ndarray,
    constraints: Constraints,
    criteria: Criteria,
    **how: Any,
) -> tuple[Report, np.ndarray]:
    """reid-denoise's report, and the identity of each image; -1 for none.

    Args:
        tracklets: all of them.
        features: float [images d].
        valid: bool [images], the images to use.
        constraints: pairs that are never, or surely, one person.
        criteria: of linking.
        how: further arguments of `reid_denoise.denoise`.
    """
    far = len(tracklets.table) > criteria.half_range
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImplausibleIdentities)  # the report says so, and the page
        found = denoise(
            features,
            tracklets.of_image,
            tracklets.per_image("video"),
            criteria,
            valid=valid,
            order="feature" if far else "given",
            linking=LINKING,
            cannot_link=constraints.cannot,
            must_link=constraints.must,
            **how,
        )
    return found.report, found.identity


def people(of_image: np.ndarray, identity: np.ndarray, size: int) -> np.ndarray:
    """The identity that most of a tracklet's images have; a tracklet without any gets one of its own.

    Args:
        of_image: int [images], tracklet of each image.
        identity: int [images], -1 for none.
        size: number of tracklets.

    Returns:
        int64 [size].

    Example:
        >>> people(np.array([0, 0, 0, 1, 2]), np.array([5, 5, 3, -1, 3]), 3).tolist()
        [5, 6, 3]
    """
    kept = identity >= 0
    pairs, counts = np.unique(np.stack([of_image[kept], identity[kept]]), axis=1, return_counts=True)
    found = np.full(size, -1)
    order = np.lexsort((-pairs[1], counts))  # the most last; of equally many the lower identity
    found[pairs[0, order]] = pairs[1, order]
    alone = found < 0
    found[alone] = identity.max(initial=-1) + 1 + np.arange(np.count_nonzero(alone))
    return found


def number_people(person: np.ndarray, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers from 1 in the order of the tracklets; images of nobody get 0.

    Args:
        person: int [tracklets].
        image: int [images], -1 for none.

    Example:
        >>> [part.tolist() for part in number_people(np.array([7, 4, 7]), np.array([7, -1, 4]))]
        [[1, 2, 1], [1, 0, 2]]
    """
    values, first, codes = np.unique(person, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first)) + 1
    place = np.minimum(np.searchsorted(values, image), len(values) - 1)
    return rank[codes], np.where(values[place] == image, rank[place], 0)
