"""The links that people had better look at: those that were made, or not made, only just so."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reid_gallery.identities.decisions import Constraints
from reid_gallery.identities.linking import Linked
from reid_gallery.identities.tracklets import Tracklets

BLOCK = 1024
"""People compared at once."""


class Link(NamedTuple):
    """Two tracklets that may be one person.

    Attributes:
        first: number of a tracklet.
        second: number of another one, the nearest to the first of its person.
        joined: whether both are of one person now.
        distance: mean cosine distance of the first from the person's other tracklets, or between the
            tracklets of two people.
    """

    first: int
    second: int
    joined: bool
    distance: float


def find_uncertain(tracklets: Tracklets, linked: Linked, constraints: Constraints, count: int) -> list[Link]:
    """Links nearest to the threshold, joined and not, without those that people have answered.

    Args:
        tracklets: all of them.
        linked: people found.
        constraints: pairs that are never, or surely, one person.
        count: most that are returned.

    Returns:
        The links, the most uncertain first.
    """
    centres = _centres(tracklets, linked)
    answered = {frozenset(pair) for pair in np.concatenate([constraints.cannot, constraints.must]).tolist()}
    found = [
        *_doubtful_members(centres, linked, answered, count),
        *_near_people(centres, linked, constraints.cannot, count),
    ]
    threshold = linked.criteria.discrimination
    found.sort(key=lambda link: (abs(link.distance - threshold), link.first, link.second))
    return found[:count]


def _centres(tracklets: Tracklets, linked: Linked) -> np.ndarray:
    """Unit-length mean of each tracklet's images that are of its person, [tracklets d]; zero for none."""
    of_image = tracklets.of_image
    used = np.flatnonzero(linked.image == linked.person[of_image])
    totals = np.zeros((len(tracklets.table), linked.features.shape[1]), dtype=np.float32)
    for rows in np.array_split(used, max(1, len(used) // (1 << 16))):
        np.add.at(totals, of_image[rows], _unit(linked.features[rows]))
    return _unit(totals)


def _unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)


def _doubtful_members(
    centres: np.ndarray, linked: Linked, answered: set[frozenset[int]], count: int
) -> list[Link]:
    """Tracklets farthest from the others of their person."""
    person = linked.person
    sums = np.zeros((person.max() + 1, centres.shape[1]), dtype=np.float32)
    np.add.at(sums, person, centres)
    size = np.bincount(person)[person]
    own = np.einsum("td,td->t", centres, centres)
    mean = (np.einsum("td,td->t", centres, sums[person]) - own) / np.maximum(size - 1, 1)
    links: dict[frozenset[int], Link] = {}
    for first in np.argsort(np.where(size > 1, mean, np.inf), kind="stable").tolist():
        if size[first] == 1 or len(links) == count:
            break
        others = np.flatnonzero(person == person[first])
        others = others[others != first]
        second = int(others[(centres[others] @ centres[first]).argmax()])
        pair = frozenset((first, second))
        if pair not in answered and pair not in links:
            links[pair] = Link(first, second, True, float(1 - mean[first]))
    return list(links.values())


def _near_people(centres: np.ndarray, linked: Linked, cannot: np.ndarray, count: int) -> list[Link]:
    """People nearest to each other, none of whose tracklets are known to be two."""
    person, far = linked.person - 1, linked.criteria.half_range
    sums = np.zeros((person.max() + 1, centres.shape[1]), dtype=np.float32)
    np.add.at(sums, person, centres)
    means = sums / np.bincount(person)[:, None]
    differ = np.unique(np.sort(person[cannot], axis=1), axis=0)
    barred = set(map(tuple, differ.tolist()))
    nearest: list[tuple[float, int, int]] = []
    for top in range(0, len(means), BLOCK):
        end = min(len(means), top + BLOCK + far)
        distance = 1 - means[top : top + BLOCK] @ means[top:end].T
        distance[np.tril_indices(len(distance), 0, distance.shape[1])] = np.inf
        most = min(distance.size - 1, 4 * count + len(barred))
        for place in np.argpartition(distance, most, axis=None)[: most + 1].tolist():
            one, other = divmod(place, distance.shape[1])
            value = float(distance[one, other])
            if np.isfinite(value) and (one + top, other + top) not in barred:
                nearest.append((value, one + top, other + top))
        nearest = sorted(nearest)[:count]
    links = []
    for value, one, other in nearest:
        rows, columns = (np.flatnonzero(person == who) for who in (one, other))
        near = centres[rows] @ centres[columns].T
        place = np.unravel_index(near.argmax(), near.shape)
        links.append(Link(int(rows[place[0]]), int(columns[place[1]]), False, value))
    return links
