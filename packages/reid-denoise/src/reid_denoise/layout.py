"""Which image lies in which tracklet and video, and the pieces in which features are read."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

PIECE = 8192
"""Images read at once, unless a tracklet has more."""
BLOCK = 16384
"""Images of the videos that are denoised, and saved, together; a longer video is a block of its own."""


NOWHERE = -1
"""The tracklet or identity of an image that has none."""
Ids = Sequence[int] | np.ndarray


class Layout(NamedTuple):
    """Tracklets in the order of their videos, each by its first image.

    Attributes:
        tracklet: int64 [n], each image's tracklet, numbered from 0 in that order; -1 for an image left out.
        rows: int64 [i], images ordered by tracklet, without those left out.
        lengths: int64 [t], images of each tracklet.
        videos: int64 [t], each tracklet's video, numbered from 0; ascending.
        names: int64 [t], the tracklets' ids as given.
    """

    tracklet: np.ndarray
    rows: np.ndarray
    lengths: np.ndarray
    videos: np.ndarray
    names: np.ndarray


def lay_out(features: np.ndarray, tracklets: Ids, videos: Ids, valid: np.ndarray) -> Layout:
    """Check ids against features and number tracklets and videos.

    Args:
        features: float [n d].
        tracklets: int [n], 0 or more, unique over all videos; -1 leaves an image out.
        videos: int [n], 0 or more.
        valid: bool [n]; False leaves an image out, too.

    Raises:
        TypeError: ids that are no integers, features that are no floats.
        ValueError: lengths differ, a negative id, a tracklet in two videos; the row is named.

    Example:
        >>> lay_out(np.ones((3, 2)), [7, 5, 7], [1, 1, 1], np.ones(3, bool)).rows.tolist()
        [0, 2, 1]
    """
    check_shape(features)
    tracklet_ids = as_ids(tracklets, "tracklets", len(features), least=NOWHERE)
    tracklet_ids = np.where(valid, tracklet_ids, NOWHERE)
    video_ids = as_ids(videos, "videos", len(features), least=NOWHERE)
    images = np.flatnonzero(tracklet_ids != NOWHERE)
    if not len(images):
        raise ValueError("tracklets, valid: every image is left out (-1, or without a feature)")
    homeless = images[video_ids[images] == NOWHERE]
    if len(homeless):
        raise ValueError(
            f"row {homeless[0]}: videos is -1, but a tracklet is given ({len(homeless)} such rows)"
        )
    names, first, codes = np.unique(tracklet_ids[images], return_index=True, return_inverse=True)
    first = images[first]
    strays = np.flatnonzero(video_ids[images] != video_ids[first][codes])
    if len(strays):
        row, home = images[strays[0]], first[codes[strays[0]]]
        raise ValueError(
            f"row {row}: tracklet {tracklet_ids[row]} is in video {video_ids[row]} here and in video "
            f"{video_ids[home]} in row {home}; tracklet ids must be unique over all videos"
        )
    rank = by_first_appearance(np.where(tracklet_ids == NOWHERE, NOWHERE, video_ids))[first]
    order = np.lexsort((first, rank))
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    tracklet = np.full(len(features), NOWHERE)
    tracklet[images] = number[codes]
    return Layout(
        tracklet=tracklet,
        rows=images[np.argsort(tracklet[images], kind="stable")],
        lengths=np.bincount(tracklet[images], minlength=len(names)),
        videos=rank[order],
        names=names[order],
    )


def by_first_appearance(ids: np.ndarray) -> np.ndarray:
    """Ids [n] numbered from 0 in the order in which they first appear; -1 stays.

    Example:
        >>> by_first_appearance(np.array([9, -1, 3, 9])).tolist()
        [0, -1, 1, 0]
    """
    values, first, codes = np.unique(ids, return_index=True, return_inverse=True)
    numbers = np.empty(len(values), dtype=np.int64)
    numbers[np.argsort(np.where(values == -1, -1, first))] = np.arange(len(values)) - (-1 in values)
    return numbers[codes]


def check_shape(features: np.ndarray) -> None:
    """Refuse what is no [n d] array of floating point numbers.

    Raises:
        TypeError: another type.
        ValueError: another shape, or empty.
    """
    if not isinstance(features, np.ndarray) or features.dtype.kind != "f":
        given = features.dtype if isinstance(features, np.ndarray) else type(features).__name__
        raise TypeError(f"features must be a NumPy array of floating point numbers [n d], got {given}")
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(f"features must be a non-empty [n d] array, got shape {features.shape}")


def as_valid(valid: np.ndarray | None, size: int) -> np.ndarray:
    """The mask of images that hold a feature, bool [n]; None is all of them.

    Raises:
        TypeError: no bool.
        ValueError: another shape.

    Example:
        >>> as_valid(None, 2)
        array([ True,  True])
    """
    if valid is None:
        return np.ones(size, dtype=bool)
    mask = np.asarray(valid)
    if mask.dtype != bool:
        raise TypeError(f"valid must be bool, True where a row holds a feature, got {mask.dtype}")
    if mask.shape != (size,):
        raise ValueError(f"valid has shape {mask.shape}, but features has {size} rows")
    return mask


def as_ids(ids: Ids, name: str, size: int, least: int) -> np.ndarray:
    """Integer ids [n] as int64, as many as there are images and none below `least`.

    Raises:
        TypeError: no integers.
        ValueError: another number of them, or one too small; the row is named.
    """
    array = np.asarray(ids)
    if array.ndim != 1 or len(array) != size:
        raise ValueError(
            f"{name} has shape {array.shape}, but features has {size} rows; "
            f"row {min(len(array) if array.ndim else 0, size)} is the first without a partner"
        )
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got {array.dtype} (row 0 is {array[0]!r}); number them")
    low = np.flatnonzero(array < least)
    if len(low):
        raise ValueError(
            f"row {low[0]}: {name} is {array[low[0]]}; expected {least} or more ({len(low)} such rows)"
        )
    high = np.flatnonzero(array > np.iinfo(np.int64).max)  # of an unsigned type, which would become negative
    if len(high):
        raise ValueError(f"row {high[0]}: {name} is {array[high[0]]}; expected an integer of 64 bits, signed")
    return array.astype(np.int64)


def check_rows(features: np.ndarray, metric: str, used: np.ndarray) -> str:
    """Read all features once, before long work, and refuse rows that no distance is defined for.

    Args:
        features: float [n d].
        metric: see `Criteria`.
        used: bool [n], the rows that must be good.

    Returns:
        Digest of the features, hexadecimal.

    Raises:
        ValueError: a row is NaN, infinite, or (for cosine) zero; it is named.

    Example:
        >>> check_rows(np.array([[1.0, 2.0], [0.0, 0.0]]), "cosine", np.array([True, True]))
        Traceback (most recent call last):
        ValueError: features: row 1 is zero, ... (1 such rows among those read); mark rows without ...
    """
    state = hashlib.blake2b(f"{features.dtype} {features.shape}".encode(), digest_size=16)
    for begin, end in row_ranges(features):
        block = np.ascontiguousarray(features[begin:end])
        state.update(block.data)
        rows = np.asarray(block, dtype=np.float32)
        squares = np.einsum("nd,nd->n", rows, rows)
        broken = ~np.isfinite(squares)
        if metric == "cosine":
            broken |= squares == 0
        broken &= used[begin:end]
        if broken.any():
            row = int(broken.argmax())
            kind = "NaN" if np.isnan(squares[row]) else "infinite or too large" if squares[row] else "zero"
            raise ValueError(
                f"features: row {begin + row} is {kind}, which has no {metric} distance "
                f"({int(broken.sum())} such rows among those read); mark rows without a feature by `valid`"
            )
    return state.hexdigest()


def row_ranges(features: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges of at most PIECE rows, in order; what is mapped of a file is let go after each.

    Example:
        >>> list(row_ranges(np.ones((PIECE + 1, 1))))
        [(0, 8192), (8192, 8193)]
    """
    for begin in range(0, len(features), PIECE):
        yield begin, min(begin + PIECE, len(features))
        release(features)


def release(features: np.ndarray) -> None:
    """Let go of the pages of a file mapped for reading, so that a pass over it doesn't count as memory."""
    mapped = features.base if isinstance(features, np.memmap) and features.mode == "r" else None
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def pieces(lengths: np.ndarray, most: int = PIECE) -> Iterator[tuple[slice, slice]]:
    """Whole groups of rows, neighbours together up to `most` rows; a longer group is alone.

    Args:
        lengths: int64 [g], rows of each group.
        most: rows together.

    Yields:
        The groups and their rows.

    Example:
        >>> [(groups.stop, rows.stop) for groups, rows in pieces(np.array([2, 3, 9, 1]), most=5)]
        [(2, 5), (3, 14), (4, 15)]
    """
    ends = np.cumsum(lengths)
    group = row = 0
    while group < len(lengths):
        stop = max(group + 1, int(np.searchsorted(ends, row + most, side="right")))
        yield slice(group, stop), slice(row, int(ends[stop - 1]))
        group, row = stop, int(ends[stop - 1])


def take(features: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Some rows; neighbours in ascending order are a view, so that nothing of a mapped file is read yet.

    Example:
        >>> take(np.arange(4.0)[:, None], np.array([1, 2])).ravel().tolist()
        [1.0, 2.0]
    """
    if len(rows) and (np.diff(rows) == 1).all():
        return np.asarray(features[rows[0] : rows[-1] + 1])
    return np.asarray(features[rows])
