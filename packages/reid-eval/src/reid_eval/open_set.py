"""Open-set identification and calibrated scores: FNIR at FPIR, and the expected calibration error."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reid_eval.inputs import Array

BINS = 15
"""Bins of the calibration error (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017)."""


class OpenSet(NamedTuple):
    """How often searches miss, at a threshold for searches of people who are not in the gallery.

    Attributes:
        fnir: false negative identification rate: the share of searches of enrolled people whose right answer
            is below the threshold, or not first.
        fpir: false positive identification rate as measured: the share of searches of other people with any
            answer at or above the threshold; at most as asked for.
        threshold: the lowest score that keeps it.
    """

    fnir: float
    fpir: float
    threshold: float


def fnir_at_fpir(mated: Array, first: Array, non_mated: Array, fpir: float) -> OpenSet:
    r"""FNIR at FPIR, with the right answer wanted at rank 1.

    With N searches of people who are not enrolled and M of people who are,
    `FPIR(t) = 1/N sum_i [top_i >= t]` and `FNIR(t) = 1/M sum_j [mate_j < t or mate_j < first_j]`, at the
    lowest threshold t with FPIR(t) <= fpir (ISO/IEC 19795-1; Grother et al., NIST IR 8271).

    Args:
        mated: float [m], of each search of an enrolled person the highest score of a right answer; -inf where
            there is none (an unreadable image).
        first: float [m], its highest score of a wrong answer; -inf where there is none.
        non_mated: float [n], of each search of another person the highest score.
        fpir: from 0 to 1.

    Returns:
        The rates, and the threshold.

    Raises:
        ValueError: no search of one kind, NaN, or a rate that can't be.

    Example:
        >>> fnir_at_fpir([0.9, 0.4, 0.7], [0.2, 0.1, 0.8], [0.5, 0.3], 0.5)
        OpenSet(fnir=0.333..., fpir=0.5, threshold=0.300...)
    """
    right, wrong, others = (np.asarray(values, dtype=np.float64) for values in (mated, first, non_mated))
    if right.shape != wrong.shape or not right.size or not others.size:
        raise ValueError(
            f"got {right.shape} right and {wrong.shape} wrong answers of enrolled people and "
            f"{others.shape} of others; expected [m], [m] and [n], at least one of each"
        )
    if np.isnan(right).any() or np.isnan(wrong).any() or np.isnan(others).any():
        raise ValueError("a score is NaN, which has no rank; leave such searches out")
    if not 0 <= fpir <= 1:
        raise ValueError(f"fpir must be a rate from 0 to 1, got {fpir}")
    ordered = np.sort(others)[::-1]
    allowed = int(np.floor(fpir * len(ordered) + 1e-9))
    threshold = -np.inf if allowed == len(ordered) else float(np.nextafter(ordered[allowed], np.inf))
    missed = (right < threshold) | (right < wrong) | np.isneginf(right)
    return OpenSet(float(missed.mean()), float((others >= threshold).mean()), threshold)


def calibration_error(
    probabilities: Array, same: Array, weights: Array | None = None, bins: int = BINS
) -> float:
    r"""Expected calibration error of the probabilities that pairs show one person.

    `ECE = sum_b w_b / w |mean of same in b - mean of probabilities in b|` over `bins` bins of equal width
    (Guo et al., 2017, for two classes).

    Args:
        probabilities: float [n], from 0 to 1.
        same: bool [n], whether the pair shows one person.
        weights: float [n], how much each pair counts; None for 1 each.
        bins: number of bins.

    Returns:
        From 0 to 1.

    Raises:
        ValueError: no pair, lengths that differ, a probability outside 0 to 1.

    Example:
        >>> round(calibration_error([0.1, 0.1, 0.9, 0.9], [False, False, True, False]), 3)
        0.25
    """
    chance, right = np.asarray(probabilities, np.float64), np.asarray(same, bool)
    counts = np.ones_like(chance) if weights is None else np.asarray(weights, np.float64)
    if not chance.size or not chance.shape == right.shape == counts.shape or chance.ndim != 1:
        raise ValueError(
            f"got probabilities {chance.shape}, same {right.shape} and weights {counts.shape}; "
            "expected [n] each"
        )
    if not ((chance >= 0) & (chance <= 1)).all():
        raise ValueError("a probability is not between 0 and 1")
    place = np.minimum((chance * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(place, counts * (right - chance), bins)
    return float(np.abs(gaps).sum() / counts.sum())
