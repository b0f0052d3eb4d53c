"""Several evaluations as one: averages over trials and splits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reid_eval.evaluation import Result

GALLERIES = {"prcc": 10, "prcc_same_clothes": 10}
"""Galleries of one image per person (`single_shot`) that a data set's numbers are means over."""
SPLITS = {"prid2011": 10, "ilids_vid": 10, "viper": 10}
"""Divisions of the people into training and test that a data set's numbers are means over."""


class Spread(NamedTuple):
    """A metric over trials or splits: its mean and its standard deviation (the population's)."""

    mean: float
    std: float


def average(results: Sequence[Result]) -> dict[str, Spread]:
    """Mean and spread of each metric over trials (PRCC's ten single shots) or splits (PRID 2011, iLIDS-VID).

    Args:
        results: of `evaluate`, one a trial, with the same ranks and false accept rates.

    Returns:
        From the summary's names (mAP, rank_1, ...) to Spread(mean, std).

    Raises:
        ValueError: no result, or other metrics in one than in the first.

    Example:
        >>> import numpy as np
        >>> from reid_eval import evaluate
        >>> from reid_eval.protocols import all_pairs, single_shot
        >>> gallery, pids = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]), [7, 7, 8]
        >>> trials = [
        ...     evaluate(np.array([[0.6, 0.8]]), gallery, [7], pids, protocol=single_shot(all_pairs, seed))
        ...     for seed in range(10)
        ... ]
        >>> average(trials)["rank_1"]
        Spread(mean=0.3, std=0.458...)
    """
    summaries = [
        {name: value for name, value in result.summary().items() if not isinstance(value, str)}
        for result in results
    ]
    if not summaries:
        raise ValueError("results is empty: give at least one")
    for number, summary in enumerate(summaries):
        if summary.keys() != summaries[0].keys():
            raise ValueError(
                f"results[{number}] has the metrics {[*summary]}, but results[0] {[*summaries[0]]}"
            )
    columns = {name: [summary[name] for summary in summaries] for name in summaries[0]}
    return {name: Spread(float(np.mean(values)), float(np.std(values))) for name, values in columns.items()}
