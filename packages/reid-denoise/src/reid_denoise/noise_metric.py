"""The noise of a set with identities (CION, section 3.1, Eqs. 1 to 3), streamed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

import numpy as np

from reid_denoise.criteria import Criteria
from reid_denoise.distances import centroids, paired_distances, prepare_rows, sums
from reid_denoise.layout import (
    NOWHERE,
    PIECE,
    Ids,
    as_ids,
    as_valid,
    by_first_appearance,
    check_rows,
    check_shape,
    row_ranges,
)
from reid_denoise.links import Links, link, most_borderline
from reid_denoise.mapping import Mapper, Progress, map_in_threads, silent

BAND = 4096
"""Centroids whose relations are found together."""


@dataclass(frozen=True, eq=False)
class Noise:
    """Noise of a set of identities.

    Attributes:
        identity: int64 [m], in the order of their first images.
        radius: float32 [m], r_k: distance of the farthest image from its identity's centroid.
        consistency: int64 [m], n_k^cst: 1 where r_k is sigma_cst or more (Eq. 1).
        discrimination: int64 [m], the sum over j of n_kj^drm: identities within sigma_drm (Eq. 2).
    """

    identity: np.ndarray
    radius: np.ndarray
    consistency: np.ndarray
    discrimination: np.ndarray

    @property
    def per_identity(self) -> np.ndarray:
        """What each identity adds to the sum of Eq. 3, int64 [m]."""
        return self.consistency + self.discrimination

    @property
    def n_s(self) -> float:
        """n_S, the overall noise (Eq. 3); 0 for a set without identities."""
        return float(self.per_identity.sum()) / max(1, len(self.identity))


def noise(
    features: np.ndarray,
    identity: Ids,
    criteria: Criteria | None = None,
    *,
    valid: np.ndarray | None,
    half_range: int | None = None,
) -> Noise:
    """Intra-identity consistency, inter-identity discrimination and overall noise n_S (CION, Eqs. 1 to 3).

    All pairs of identities are compared, a tile at a time: their number is quadratic. `half_range` restricts
    them to the range that cross-video denoising looks at.

    Args:
        features: float [n d]; may be memory-mapped.
        identity: int [n]; -1 leaves an image out.
        criteria: consistency, discrimination and metric are used; CION's by default.
        valid: bool [n], False where a row holds no feature, whatever its identity; None says that all do.
        half_range: compare only identities at most this many places apart, by their first images; None for
            all.

    Returns:
        The noise, overall and of each identity.

    Raises:
        TypeError, ValueError: bad features or ids; the row is named.

    Example:
        >>> measured = noise(np.eye(3)[[0, 1, 0, 2]], [4, 4, 5, 6], Criteria(discrimination=0.3), valid=None)
        >>> measured.consistency.tolist(), measured.discrimination.tolist(), measured.n_s
        ([1, 0, 0], [1, 1, 0], 1.0)
    """
    criteria = criteria or Criteria()
    check_shape(features)
    ids = as_ids(identity, "identity", len(features), least=NOWHERE)
    ids = np.where(as_valid(valid, len(features)), ids, NOWHERE)
    check_rows(features, criteria.metric, ids >= 0)
    position = by_first_appearance(ids)
    size = int(position.max()) + 1
    found = measure(features, position, size, criteria, size if half_range is None else half_range)
    names = np.empty(size, dtype=np.int64)
    names[position[position >= 0]] = ids[position >= 0]
    return found.noise(names, criteria)


class Measured(NamedTuple):
    """Radius [m] of each identity, and the relations between their centroids."""

    radius: np.ndarray
    links: Links

    def noise(self, names: np.ndarray, criteria: Criteria) -> Noise:
        """As a `Noise` of identities with these names [m]."""
        loose = (self.radius >= criteria.consistency).astype(np.int64)
        return Noise(names, self.radius, loose, self.links.degree)


def measure(
    features: np.ndarray,
    position: np.ndarray,
    size: int,
    criteria: Criteria,
    half_range: int,
    folder: Path | None = None,
    mapper: Mapper = map_in_threads,
    progress: Progress = silent,
) -> Measured:
    """Radii and linking relations of identities, from two passes over features and one over centroids.

    Relations between centroids are both the noise of Eq. 2 and the links of Eq. 7.

    Args:
        features: float [n d].
        position: int64 [n], each image's identity, numbered from 0 in the order that `half_range` speaks of;
            -1 for none.
        size: number of identities.
        criteria: of denoising.
        half_range: identities at most this many places apart are compared.
        folder: where the centroids' temporary file lies; the system's place by default.
        mapper: how the work on blocks is done.
        progress: shows how far it is.

    Returns:
        Radii and relations.
    """
    metric = criteria.metric
    radius = np.zeros(size, dtype=np.float32)
    with identity_centroids(features, position, size, metric, folder, mapper, progress) as centres:
        work = (
            (np.asarray(features[at:to]), position[at:to], found, centres[found], metric)
            for at, to in row_ranges(features)
            for found in [labels(position[at:to])]
        )
        for found, farthest in progress(mapper(block_radii, work), "radii", ceil(len(features) / PIECE)):
            radius[found] = np.maximum(radius[found], farthest)
        return Measured(radius, band_links(centres, half_range, criteria, mapper, progress))


@contextmanager
def identity_centroids(
    features: np.ndarray,
    position: np.ndarray,
    size: int,
    metric: str,
    folder: Path | None = None,
    mapper: Mapper = map_in_threads,
    progress: Progress = silent,
) -> Iterator[np.ndarray]:
    """Centroids of identities, prepared, in a temporary file, float32 [size d]; arguments as in `measure`."""
    parts = ((np.asarray(features[at:to]), position[at:to], metric) for at, to in row_ranges(features))
    counts = np.zeros(size, dtype=np.int64)
    with TemporaryFile(dir=folder) as file:
        centres = np.memmap(file, np.float32, "w+", shape=(max(1, size), features.shape[1]))[:size]
        for found, totals, number in progress(
            mapper(block_sums, parts), "centroids", ceil(len(features) / PIECE)
        ):
            centres[found] += totals
            counts[found] += number
        for at in range(0, size, BAND):
            band = slice(at, at + BAND)
            centres[band] = centroids(centres[band], counts[band], metric)
        yield centres


def labels(position: np.ndarray) -> np.ndarray:
    """The identities among some images, ascending; -1 is none.

    Example:
        >>> labels(np.array([4, -1, 2, 4])).tolist()
        [2, 4]
    """
    return np.unique(position[position >= 0])


def block_sums(
    features: np.ndarray, position: np.ndarray, metric: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Identities [k] among some images [n d], the sums of their features [k d], and their counts [k]."""
    found = labels(position)
    present = position >= 0
    codes = np.searchsorted(found, position[present])
    rows = prepare_rows(features[present], metric)
    return found, sums(rows, codes, len(found)), np.bincount(codes, minlength=len(found))


def block_radii(
    features: np.ndarray, position: np.ndarray, found: np.ndarray, centres: np.ndarray, metric: str
) -> tuple[np.ndarray, np.ndarray]:
    """Identities [k] among some images [n d], and each one's farthest image from its centroid [k]."""
    present = position >= 0
    codes = np.searchsorted(found, position[present])
    rows = prepare_rows(features[present], metric)
    farthest = np.zeros(len(found), dtype=np.float32)
    np.maximum.at(farthest, codes, paired_distances(rows, centres[codes], metric).astype(np.float32))
    return found, farthest


def band_links(
    centres: np.ndarray, half_range: int, criteria: Criteria, mapper: Mapper, progress: Progress
) -> Links:
    """Linking relations of all centroids (Eq. 7): bands of BAND centroids that overlap by `half_range`.

    Args:
        centres: prepared, float32 [n d]; may be memory-mapped.
        half_range: r_s.
        criteria: discrimination and metric are used.
        mapper: how the work on bands is done.
        progress: shows how far it is.

    Returns:
        The relations.
    """
    size = len(centres)
    starts = range(0, size, BAND)
    work = (
        (np.asarray(centres[at : at + BAND + half_range]), min(BAND, size - at), half_range, criteria)
        for at in starts
    )
    degree = np.zeros(size, dtype=np.int64)
    pairs, found, nearest = [np.empty((0, 2), dtype=np.int64)], np.empty((0, 2), dtype=np.int64), np.empty(0)
    parts = progress(mapper(link, work), "links", len(starts))
    for at, part in zip(starts, parts, strict=True):
        degree[at : at + len(part.degree)] += part.degree
        pairs.append(part.pairs + at)
        nearest, found = most_borderline(
            np.concatenate([nearest, part.borderline]), np.concatenate([found, part.borderline_pairs + at])
        )
    return Links(degree, np.concatenate(pairs), nearest, found)
