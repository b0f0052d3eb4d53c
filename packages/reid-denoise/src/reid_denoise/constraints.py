"""What is known before anything is compared: tracklets that are never one person, and ones that are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from reid_denoise.layout import NOWHERE, Ids, as_ids
from reid_denoise.links import components

NO_PAIRS = np.empty((0, 2), dtype=np.int64)


class Constraints(NamedTuple):
    """Pairs of tracklets, by their numbers in the order of the videos.

    Attributes:
        cannot: int64 [p 2], never one person.
        must: int64 [m 2], one person.
    """

    cannot: np.ndarray = NO_PAIRS
    must: np.ndarray = NO_PAIRS

    def __bool__(self) -> bool:
        return len(self.cannot) + len(self.must) > 0

    def rename(self, names: np.ndarray) -> Constraints:
        """Those between tracklets that have a new name (`names` [t], -1 for none), by those names."""
        pairs = [names[pairs] for pairs in self]
        return Constraints(*(named[(named >= 0).all(axis=1)] for named in pairs))

    def among(self, first: int, last: int) -> Constraints:
        """Those between tracklets from `first` up to `last`, which are numbered from 0 then."""
        inside = [pairs[((pairs >= first) & (pairs < last)).all(axis=1)] for pairs in self]
        return Constraints(*(pairs - first for pairs in inside))


UNCONSTRAINED = Constraints()


def simultaneous(tracklets: Ids, videos: Ids, frames: Ids) -> np.ndarray:
    """Pairs of tracklets that are seen at one time in one video, and so are never one person.

    Args:
        tracklets: int [n], of each image; -1 for none.
        videos: int [n].
        frames: int [n], when an image was taken, on its video's clock; -1 for unknown.

    Returns:
        int64 [p 2], tracklet ids, for `cannot_link`.

    Raises:
        TypeError, ValueError: ids that are no integers, or lengths that differ.

    Example:
        >>> simultaneous([5, 5, 6, 6, 7], [0, 0, 0, 0, 0], [1, 4, 3, 9, 5]).tolist()
        [[5, 6], [6, 7]]
    """
    tracklet = as_ids(tracklets, "tracklets", len(tracklets), least=NOWHERE)
    video = as_ids(videos, "videos", len(tracklet), least=NOWHERE)
    frame = as_ids(frames, "frames", len(tracklet), least=NOWHERE)
    known = (tracklet >= 0) & (frame >= 0)
    names, first, codes = np.unique(tracklet[known], return_index=True, return_inverse=True)
    home = video[known][first]
    begin = np.full(len(names), np.iinfo(np.int64).max)
    end = np.full(len(names), -1)
    np.minimum.at(begin, codes, frame[known])
    np.maximum.at(end, codes, frame[known])
    order = np.lexsort((begin, home))
    found = [NO_PAIRS]
    bounds = np.flatnonzero(np.diff(home[order], prepend=-1, append=-1))
    for low, high in zip(bounds[:-1], bounds[1:], strict=True):
        some = order[low:high]
        # Sorted by their first frames, those that begin before a tracklet ends follow it.
        last = np.searchsorted(begin[some], end[some], side="right")
        counts = last - np.arange(len(some)) - 1
        one = np.repeat(np.arange(len(some)), counts)
        other = np.arange(len(one)) - np.repeat(np.cumsum(counts) - counts, counts) + one + 1
        found.append(np.sort(names[np.stack([some[one], some[other]], axis=1)], axis=1))
    return np.concatenate(found)


def check_constraints(
    cannot_link: np.ndarray | None, must_link: np.ndarray | None, tracklets: Ids, names: np.ndarray
) -> Constraints:
    """Pairs of tracklet ids as numbers; tracklets that must be one share what they cannot be one with.

    Args:
        cannot_link: int [p 2] tracklet ids, or None.
        must_link: int [m 2], or None.
        tracklets: int [n], of each image.
        names: int64 [t], the ids of those with images, by their numbers.

    Raises:
        TypeError: ids that are no integers.
        ValueError: another shape, an id that no image has, or a pair that must and cannot be one.
    """
    known = np.unique(np.asarray(tracklets))
    number = np.full(len(known), NOWHERE)
    number[np.searchsorted(known, names)] = np.arange(len(names))
    given = []
    for argument, pairs in (("cannot_link", cannot_link), ("must_link", must_link)):
        pairs = NO_PAIRS if pairs is None else np.asarray(pairs)
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise ValueError(f"{argument} has shape {pairs.shape}; expected [pairs 2], tracklet ids")
        if pairs.dtype.kind not in "iu":
            raise TypeError(f"{argument} must be integers, tracklet ids, got {pairs.dtype}")
        place = np.minimum(np.searchsorted(known, pairs), len(known) - 1)
        strange = np.argwhere((known[place] != pairs) | (pairs < 0))
        if len(strange):
            row, column = strange[0]
            raise ValueError(f"{argument}, row {row}: no image has tracklet {pairs[row, column]}")
        given.append(number[place])
    cannot, must = Constraints(*given).rename(np.arange(len(names)))
    return Constraints(_spread(cannot, must, names), must)


def _spread(cannot: np.ndarray, must: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Pairs [p 2] of which no member of one's group may join a member of the other's."""
    group = components(must, len(names))
    clash = np.flatnonzero(group[cannot[:, 0]] == group[cannot[:, 1]])
    if len(clash):
        one, other = names[cannot[clash[0]]]
        raise ValueError(f"cannot_link says that tracklets {one} and {other} differ; must_link joins them")
    if not len(must):
        return cannot
    member = csr_array((np.ones(len(group), dtype=np.int32), (np.arange(len(group)), group)))
    differ = csr_array(
        (np.ones(len(cannot), dtype=np.int32), (group[cannot[:, 0]], group[cannot[:, 1]])),
        (member.shape[1],) * 2,
    )
    return np.stack((member @ differ @ member.T).nonzero(), axis=1).astype(np.int64)


class Groups:
    """Tracklets that are joined one after the other, as far as constraints let them.

    Args:
        size: tracklets, each alone at first but for those that must be one.
        constraints: by their numbers.

    Example:
        >>> groups = Groups(3, Constraints(cannot=np.array([[0, 2]])))
        >>> groups.join(0, 1), groups.join(1, 2), groups.first().tolist()
        (True, False, [0, 0, 2])
    """

    def __init__(self, size: int, constraints: Constraints) -> None:
        self.label = np.arange(size)
        self._members: dict[int, np.ndarray] = {}
        both = np.concatenate([constraints.cannot, constraints.cannot[:, ::-1]])
        order = np.argsort(both[:, 0], kind="stable")
        self._others = both[order, 1]
        self._begin = np.searchsorted(both[order, 0], np.arange(size + 1))
        for one, other in constraints.must.tolist():
            self.join(one, other)

    def members(self, root: int) -> np.ndarray:
        """The tracklets of a group, int64 [k]; `root` is the label that they share."""
        return self._members.get(root, np.array([root]))

    def may_join(self, one: int, other: int) -> bool:
        """Whether two groups, by their roots, hold no two tracklets that are never one person."""
        fewer, more = sorted((one, other), key=lambda root: len(self.members(root)))
        others = [
            self._others[self._begin[node] : self._begin[node + 1]] for node in self.members(fewer).tolist()
        ]
        return not any((self.label[some] == more).any() for some in others if len(some))

    def join(self, one: int, other: int) -> bool:
        """Join the groups of two tracklets, unless they are one or may not be; whether it was done.

        The larger group's root becomes the root of both, of equally large ones the lower.
        """
        first, second = int(self.label[one]), int(self.label[other])
        if first == second or not self.may_join(first, second):
            return False
        keeps, goes = sorted((first, second), key=lambda root: (-len(self.members(root)), root))
        moved = self.members(goes)
        self._members[keeps] = np.concatenate([self.members(keeps), moved])
        self._members.pop(goes, None)
        self.label[moved] = keeps
        return True

    def first(self) -> np.ndarray:
        """The first tracklet of each one's group, int64 [size]."""
        lowest = np.full(len(self.label), len(self.label))
        np.minimum.at(lowest, self.label, np.arange(len(self.label)))
        return lowest[self.label]
