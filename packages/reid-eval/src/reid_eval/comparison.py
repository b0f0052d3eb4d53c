"""Two results side by side: bootstrap intervals over queries, and a paired test on the same queries."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np
from scipy import stats

from reid_eval.defaults import LEVEL
from reid_eval.evaluation import Result

RESAMPLES = 9999
BLOCK_BYTES = 64 * 2**20
"""Resampled values in memory at a time."""


class Interval(NamedTuple):
    """A value and its confidence interval; NaN ends where there is none."""

    value: float
    low: float = np.nan
    high: float = np.nan


class Row(NamedTuple):
    """One metric of two results.

    Attributes:
        metric: mAP, mINP, rank_1, ..., tar_1e-4.
        first: the first result's.
        second: the second's.
        difference: second - first; its interval resamples pairs, so it needs the same queries.
        p: two-sided, of the paired test; NaN without.
    """

    metric: str
    first: Interval
    second: Interval
    difference: Interval
    p: float


def same_queries(first: Result, second: Result) -> bool:
    """Whether two results speak of the same valid queries among as many, against as large a gallery."""
    counts = (first.num_queries, first.num_gallery) == (second.num_queries, second.num_gallery)
    return counts and np.array_equal(first.valid_queries, second.valid_queries)


def compare_results(
    first: Result,
    second: Result,
    paired: bool,
    level: float = LEVEL,
    seed: int = 0,
    metrics: Collection[str] | None = None,
) -> list[Row]:
    """Metrics of two results with percentile bootstrap intervals over queries.

    Paired, each metric is tested by randomisation: under the null hypothesis a query's two values could as
    well be swapped (Smucker et al., A Comparison of Statistical Significance Tests for Information Retrieval
    Evaluation, CIKM 2007). TAR counts pairs, not queries, and so has no interval.

    Args:
        first: a result.
        second: another.
        paired: whether row by row both are of the same queries; see `same_queries`.
        level: of the intervals.
        seed: of resampling.
        metrics: those wanted, such as mAP and rank_1; by default all.

    Returns:
        A Row for mAP, mINP and each rank and rate that both have.

    Raises:
        ValueError: a level outside 0 to 1, fewer than two valid queries, or paired results of other queries.

    Example:
        >>> from reid_eval import evaluate
        >>> rng = np.random.default_rng(0)
        >>> people, pids = np.eye(30), np.arange(30)
        >>> good, bad = (
        ...     evaluate(people + noise * rng.random((30, 30)), people, pids, pids, pids * 0, pids * 0 + 1)
        ...     for noise in (1, 3)
        ... )
        >>> row = compare_results(bad, good, paired=True)[0]
        >>> row.metric, row.difference.low > 0, row.p < 0.01
        ('mAP', True, True)
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    fewest = min(first.num_valid_queries, second.num_valid_queries)
    if fewest < 2:
        raise ValueError(f"an interval over queries needs at least 2 valid queries, got {fewest}")
    if paired and not same_queries(first, second):
        raise ValueError("paired=True, but the two results are not of the same queries and gallery")
    one, two = _per_query(first), _per_query(second)
    rows = []
    for metric in (name for name in one if name in two and (metrics is None or name in metrics)):
        before, after = (_interval(values[metric], level, seed) for values in (one, two))
        difference, p = Interval(after.value - before.value), np.nan
        if paired:
            change = two[metric] - one[metric]
            difference, p = _interval(change, level, seed), _p_value(change, seed)
        rows.append(Row(metric, before, after, difference, p))
    scalars = first.summary(), second.summary()
    rates = [name for name in scalars[0] if name.startswith("tar_") and name in scalars[1]]
    for metric in (name for name in rates if metrics is None or name in metrics):
        before, after = (Interval(float(scalar[metric])) for scalar in scalars)
        rows.append(Row(metric, before, after, Interval(after.value - before.value), np.nan))
    return rows


def intervals(
    result: Result, metrics: Collection[str], level: float = LEVEL, seed: int = 0
) -> dict[str, Interval]:
    """Metrics of a result with percentile bootstrap intervals over its valid queries.

    Args:
        result: of `evaluate`, with two valid queries or more.
        metrics: those wanted: mAP, mINP, rank_1, ...
        level: of the intervals.
        seed: of resampling.

    Returns:
        Metric -> value and interval, for those that the result has.

    Example:
        >>> from reid_eval import evaluate
        >>> pids = np.arange(8)
        >>> result = evaluate(np.eye(8), np.eye(8), pids, pids, pids * 0, pids * 0 + 1)
        >>> intervals(result, ["mAP"])
        {'mAP': Interval(value=1.0, low=1.0, high=1.0)}
    """
    return {
        name: _interval(values, level, seed) for name, values in _per_query(result).items() if name in metrics
    }


def _per_query(result: Result) -> dict[str, np.ndarray]:
    """Each valid query's share in the metrics that are means over queries, float64 [v] each."""
    found = {f"rank_{rank}": result.found_by(rank).astype(np.float64) for rank in result.cmc}
    return {"mAP": result.ap, "mINP": result.inp, **found}


def _interval(values: np.ndarray, level: float, seed: int) -> Interval:
    if np.ptp(values) == 0:  # all the same: every resample is, too
        return Interval(*[float(values[0])] * 3)
    found = stats.bootstrap(
        (values,),
        np.mean,
        confidence_level=level,
        n_resamples=RESAMPLES,
        method="percentile",
        batch=_batch(values),
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(np.mean(values)), float(found.low), float(found.high))


def _p_value(change: np.ndarray, seed: int) -> float:
    statistic: Callable[..., np.ndarray] = np.mean
    return float(
        stats.permutation_test(
            (change,),  # with one sample, "samples" flips the signs of its values
            statistic,
            permutation_type="samples",
            n_resamples=RESAMPLES,
            batch=_batch(change),
            rng=np.random.default_rng(seed),
        ).pvalue
    )


def _batch(values: np.ndarray) -> int:
    return max(1, BLOCK_BYTES // values.nbytes)
