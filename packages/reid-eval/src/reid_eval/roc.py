"""TAR at FAR and the ROC over all valid pairs, exactly, from passes over tiles: no list of scores is kept.

A float's bits order like its value (backwards for negative ones), so counting pairs by the leading bits of
their scores is a histogram whose bins are exact intervals. The first pass counts the leading bits: each bin's
edge is an exact point of the ROC, and the bin that holds the threshold of a wanted FAR is known. Each further
pass counts the next bits of the scores in that bin, until the threshold is one number: two passes in float32,
four in float64, however many pairs there are and however many are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reid_eval.scores import LEFT_OUT, Tile

DIGITS = {torch.float32: (16, 16), torch.float64: (20, 15, 15, 14)}
"""Bits counted in each pass. The first are sign, exponent and 7 or 8 bits of the mantissa."""

HISTOGRAM_BINS = 64
"""Least bins between the lowest and the highest score, unless the leading bits are coarser."""

FAR_STEPS, TAR_STEPS = 100, 1000
"""Points of the ROC kept: one a hundredth of a decade of FAR, one a thousandth of TAR."""


class Roc(NamedTuple):
    """Exact points of the receiver operating characteristic over all valid pairs.

    Attributes:
        far: float64 [k], false accept rate: the share of impostor pairs at or above a threshold, ascending.
        tar: float64 [k], true accept rate: the share of genuine pairs at or above it.
        threshold: float64 [k], the score that a pair must reach, descending. Each wanted FAR has its point,
            with the lowest threshold that keeps it.
    """

    far: np.ndarray
    tar: np.ndarray
    threshold: np.ndarray

    def threshold_at(self, far: float) -> float:
        """The lowest threshold of these points whose false accept rate is at most `far`.

        Args:
            far: from 0 to 1; exact where it was asked of `evaluate`.

        Example:
            >>> far, tar = np.array([0.0, 0.01, 0.2]), np.array([0.5, 0.7, 0.9])
            >>> Roc(far, tar, np.array([0.8, 0.6, 0.4])).threshold_at(0.1)
            0.6
        """
        return float(self.threshold[np.searchsorted(self.far, far, side="right") - 1])


class ScoreHistogram(NamedTuple):
    """How the scores of genuine and impostor pairs spread.

    Attributes:
        edges: float64 [n + 1], ascending and evenly spaced; a score on an edge counts to the bin away from 0.
        genuine: int64 [n], valid pairs of one person.
        impostor: int64 [n], valid pairs of two people.
    """

    edges: np.ndarray
    genuine: np.ndarray
    impostor: np.ndarray


class Rates(NamedTuple):
    """What `evaluate` reports of all pairs."""

    tar: dict[float, float]
    roc: Roc
    score_histogram: ScoreHistogram


@dataclass
class Bracket:
    """Where the threshold of one FAR is known to be: scores whose leading bits are `prefix`.

    Attributes:
        far: as asked for.
        spare: impostors in the bracket that may still be accepted.
        impostor: impostor pairs above the bracket.
        genuine: genuine pairs above the bracket.
        inside: all pairs in the bracket.
        prefix: leading bits of the highest score at which one impostor too many would be accepted.
        negative: whether that score is below 0, where larger bits are lower scores.
    """

    far: float
    spare: int
    impostor: int = 0
    genuine: int = 0
    inside: int = 0
    prefix: int = 0
    negative: bool = False


def checked_far(far: Sequence[float]) -> tuple[float, ...]:
    """False accept rates, each above 0 and below 1."""
    asked = tuple(float(rate) for rate in far)
    if not all(0 < rate < 1 for rate in asked):
        raise ValueError(f"far must be rates between 0 and 1, got {asked}")
    return asked


def leading_counts(tile: Tile) -> np.ndarray:
    """Genuine and all pairs of a tile by the leading bits of their scores: int64 [2 bins]."""
    width = DIGITS[tile.scores.dtype][0]
    counts = [_digits(scores, 0, width) for scores in (tile.scores[tile.rows, tile.cols], tile.scores)]
    return torch.stack(counts).cpu().numpy()


def rates(
    counts: np.ndarray,
    dtype: torch.dtype,
    far: Sequence[float],
    passes: Callable[[], Iterable[Tile]],
    missed: int = 0,
) -> Rates:
    """TAR at each FAR, the ROC and the histogram of scores.

    TAR at FAR x is the share of genuine pairs at or above the lowest threshold that lets the share x of
    impostor pairs pass at most; equal scores pass together. That is scikit-learn's roc_curve at its last
    point with fpr <= x.

    Args:
        counts: the sum of `leading_counts` over all tiles, int64 [2 bins].
        dtype: of the scores.
        far: false accept rates.
        passes: starts another pass over the same tiles.
        missed: further genuine pairs, without a score; no threshold accepts them.

    Returns:
        The rates.

    Raises:
        ValueError: there is no impostor pair.
        RuntimeError: another pass gave other scores.
    """
    known, *widths = DIGITS[dtype]
    left_out = int(_digits(torch.tensor([LEFT_OUT], dtype=dtype), 0, known).argmax())
    counts[:, left_out] = 0
    order = _ascending(known)
    genuine, impostor = counts[0, order], counts[1, order] - counts[0, order]
    pairs = int(genuine.sum()), int(impostor.sum())
    if not pairs[1]:
        raise ValueError("no impostor pair: every valid pair is of one person, so no FAR can be measured")
    brackets = [Bracket(rate, _allowed_impostors(rate, pairs[1])) for rate in far]
    for bracket in brackets:
        digit = order[_narrow(bracket, genuine, impostor)]
        bracket.prefix, bracket.negative = int(digit), bool(digit >> (known - 1))
    for width in widths:
        inside = _counts_inside(passes(), {bracket.prefix for bracket in brackets}, known, width, dtype)
        for bracket in brackets:
            found = inside[bracket.prefix]
            if found[1].sum() != bracket.inside:
                raise RuntimeError(
                    "the same features gave other scores in a second pass: turn on deterministic algorithms"
                )
            step = -1 if bracket.negative else 1
            place = _narrow(bracket, found[0, ::step], (found[1] - found[0])[::step])
            digit = (1 << width) - 1 - place if bracket.negative else place
            bracket.prefix = bracket.prefix << width | digit
        known += width
    return Rates(
        {bracket.far: bracket.genuine / (pairs[0] + missed) for bracket in brackets},
        _roc(genuine, impostor, brackets, missed, dtype),
        _histogram(genuine, impostor, order, dtype),
    )


def _allowed_impostors(rate: float, pairs: int) -> int:
    """The most impostors whose share is at most the rate, by the same division that a curve makes."""
    count = round(rate * pairs)
    return count if count / pairs <= rate else count - 1


def _narrow(bracket: Bracket, genuine: np.ndarray, impostor: np.ndarray) -> int:
    """Move the bracket into the bin, of ascending ones, where the spare impostors run out; return the bin."""
    passed = np.cumsum(impostor[::-1])
    above = int(np.searchsorted(passed, bracket.spare, side="right"))
    accepted = int(passed[above - 1]) if above else 0
    place = len(impostor) - 1 - above
    bracket.spare -= accepted
    bracket.impostor += accepted
    bracket.genuine += int(genuine[::-1][:above].sum())
    bracket.inside = int(genuine[place] + impostor[place])
    return place


def _counts_inside(
    tiles: Iterable[Tile], prefixes: set[int], known: int, width: int, dtype: torch.dtype
) -> dict[int, np.ndarray]:
    """Genuine and all pairs by the next bits of their scores, for each of some leading bits."""
    counts = {prefix: np.zeros((2, 1 << width), dtype=np.int64) for prefix in prefixes}
    # The bits after a negative score's prefix lower it further: its bracket starts where the next one ends.
    lowest = min(_nearest_zero(prefix + (prefix >> (known - 1)), known, dtype) for prefix in prefixes)
    for tile in tiles:
        for number, scores in enumerate((tile.scores[tile.rows, tile.cols], tile.scores)):
            # Thresholds lie high: few scores are left to look at.
            high = scores[scores >= lowest]
            leading = _bits(high) >> (_size(dtype) - known) & (1 << known) - 1
            for prefix, found in counts.items():
                found[number] += _digits(high[leading == prefix], known, width).cpu().numpy()
    return counts


def _roc(
    genuine: np.ndarray, impostor: np.ndarray, brackets: Sequence[Bracket], missed: int, dtype: torch.dtype
) -> Roc:
    """Exact points at the bins' edges and at the thresholds found, thinned."""
    filled = np.flatnonzero(genuine + impostor)[::-1]
    accepted = np.cumsum(np.stack([impostor, genuine])[:, filled], axis=1).T
    asked = np.array([(bracket.impostor, bracket.genuine) for bracket in brackets], dtype=np.int64)
    known = DIGITS[dtype][0]
    digits = _ascending(known)[filled]
    edges = [_lowest(int(digit), known, dtype) for digit in digits]
    floating = np.float32 if dtype == torch.float32 else np.float64
    # A bracket ends at the highest score that lets one impostor too many pass; the threshold is just above.
    blocked = [_nearest_zero(bracket.prefix, _size(dtype), dtype) for bracket in brackets]
    wanted = [float(np.nextafter(floating(score), floating(np.inf))) for score in blocked]
    above = _above(int(digits[0]), known, dtype)
    points, first = np.unique(
        np.concatenate([np.zeros((1, 2), np.int64), accepted, asked.reshape(-1, 2)]),
        axis=0,
        return_index=True,
    )
    thresholds = np.array([above, *edges, *wanted])[first]
    far, tar = (points / (accepted[-1] + (0, missed))).T
    decades = np.log10(np.maximum(far, 0.5 / accepted[-1, 0]))
    steps = np.floor(np.stack([FAR_STEPS * decades, TAR_STEPS * tar]))
    keep = np.ones(len(points), dtype=bool)
    keep[1:-1] = (steps[:, 1:-1] != steps[:, :-2]).any(axis=0)
    keep |= (points[:, None] == asked.reshape(1, -1, 2)).all(axis=2).any(axis=1)
    return Roc(far[keep], tar[keep], thresholds[keep])


def _histogram(
    genuine: np.ndarray, impostor: np.ndarray, order: np.ndarray, dtype: torch.dtype
) -> ScoreHistogram:
    """Group the bins of leading bits into ones of equal width, a power of two, so that no edge cuts one."""
    width = DIGITS[dtype][0]
    filled = np.flatnonzero(genuine + impostor)
    nearest = np.array([_nearest_zero(int(digit), width, dtype) for digit in order[filled]])
    largest = np.abs(nearest).max()
    mantissa = width - 1 - (8 if dtype == torch.float32 else 11)
    span = nearest.max() - nearest.min()
    exponents = [np.log2(span / HISTOGRAM_BINS)] if span else []
    exponents += [np.floor(np.log2(largest)) - mantissa] if largest else []
    step = 2.0 ** np.floor(max(exponents, default=0))
    below = np.signbit(nearest)
    bins = np.where(below, -np.floor(-nearest / step) - 1, np.floor(nearest / step)).astype(np.int64)
    first, size = bins.min(), bins.max() - bins.min() + 1
    sums = [
        np.bincount(bins - first, counts[filled], size).astype(np.int64) for counts in (genuine, impostor)
    ]
    return ScoreHistogram(step * np.arange(first, first + size + 1), *sums)


def _ascending(width: int) -> np.ndarray:
    """Leading bits in the order of the scores that start with them: negative ones first, backwards."""
    half = 1 << (width - 1)
    return np.concatenate([np.arange(2 * half - 1, half - 1, -1), np.arange(half)])


def _nearest_zero(prefix: int, known: int, dtype: torch.dtype) -> float:
    """The score nearest to 0 of those that start with these bits."""
    unsigned, floating = (np.uint32, np.float32) if dtype == torch.float32 else (np.uint64, np.float64)
    return float(np.array(prefix << (_size(dtype) - known), unsigned).view(floating))


def _lowest(prefix: int, known: int, dtype: torch.dtype) -> float:
    """The lowest score of those that start with these bits."""
    rest = _size(dtype) - known
    negative = prefix >> (known - 1)
    return _nearest_zero((prefix << rest) | ((1 << rest) - 1 if negative else 0), _size(dtype), dtype)


def _above(prefix: int, known: int, dtype: torch.dtype) -> float:
    """The lowest score above all that start with these bits."""
    if prefix >> (known - 1):  # negative: the next number above the one nearest to zero
        nearest = _nearest_zero(prefix, known, dtype)
        return float(np.nextafter(np.float64(nearest), np.inf))
    return _nearest_zero(prefix + 1, known, dtype)


def _digits(scores: Tensor, known: int, width: int) -> Tensor:
    """How many scores have each value in the `width` bits after the first `known`: int64 [2 ** width]."""
    shift = _size(scores.dtype) - known - width
    return torch.bincount((_bits(scores) >> shift & (1 << width) - 1).flatten(), minlength=1 << width)


def _bits(scores: Tensor) -> Tensor:
    """The bits as an integer; adding 0 turns -0.0, which equals 0.0, into it."""
    return (scores + 0.0).view(torch.int32 if scores.dtype == torch.float32 else torch.int64)


def _size(dtype: torch.dtype) -> int:
    return 8 * dtype.itemsize
