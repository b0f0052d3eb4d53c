"""Masks as run lengths, COCO's uncompressed RLE: columns first, runs of False and True in turn."""

from __future__ import annotations

import numpy as np


def encode_mask(mask: np.ndarray) -> np.ndarray:
    """Run lengths of a mask, the first of False (0 if the mask begins with True).

    Args:
        mask: bool [h w].

    Returns:
        uint32 [n], whose sum is h * w; COCO's `counts`, with `size` [h, w].

    Example:
        >>> encode_mask(np.array([[True, False], [True, True]])).tolist()
        [0, 2, 1, 1]
    """
    flat = mask.ravel(order="F")
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, flat.size)
    counts = np.diff(ends, prepend=0).astype(np.uint32)
    return np.insert(counts, 0, 0) if flat.size and flat[0] else counts


def decode_mask(counts: np.ndarray, height: int, width: int) -> np.ndarray:
    """The mask that `encode_mask` encoded: bool [h w].

    Args:
        counts: uint32 [n].
        height, width: of the mask.

    Raises:
        ValueError: counts that are no integers from 0, or don't sum up to height * width.

    Example:
        >>> decode_mask(np.array([0, 2, 1, 1]), 2, 2).tolist()
        [[True, False], [True, True]]
    """
    counts = np.asarray(counts)
    pixels = height * width
    if counts.ndim != 1 or (counts.size and counts.dtype.kind not in "iu") or min(height, width) < 0:
        raise ValueError(
            f"run lengths: got {counts.dtype} {counts.shape} of {height} x {width}; expected int [n]"
        )
    # First each alone: a sum of 64 bits may go round to the right one.
    if (counts < 0).any() or (counts > pixels).any() or int(counts.sum()) != pixels:
        total = sum(counts.tolist())
        raise ValueError(f"run lengths sum up to {total}, expected {height} x {width}, and none below 0")
    counts = counts.astype(np.int64)
    runs = np.arange(len(counts)) % 2 == 1
    return np.repeat(runs, counts).reshape((height, width), order="F")
