"""Ranks of the right answers by counting, and what papers make of them for each query."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

AveragePrecision = Literal["standard", "trapezoid"]


class PerQuery(NamedTuple):
    """One entry per query with a right answer.

    Attributes:
        queries: int64 [v], rows of the queries.
        ap: float64 [v], average precision.
        inp: float64 [v], inverse negative penalty.
        first_ranks: int64 [v], rank of the first right answer, from 1; 0 where none can be found.
    """

    queries: np.ndarray
    ap: np.ndarray
    inp: np.ndarray
    first_ranks: np.ndarray


def match_ranks(scores: Tensor, rows: Tensor, cols: Tensor) -> np.ndarray:
    """Ranks from 1 of right answers: the place that a stable descending argsort of each row would give.

    The rank of column j is one more than the columns that score higher and the equal ones before j. They are
    counted by bisection in the row's sorted values, so there is no gallery-long list of indices, and the cost
    hardly grows with the number of right answers. On a CPU only the values from the lowest right answer on
    are sorted: few, where the features are good.

    Args:
        scores: float [b g], higher is nearer; what is left out scores -inf and so never counts.
        rows: int64 [p], ascending.
        cols: int64 [p].

    Returns:
        int64 [p].

    Example:
        >>> match_ranks(torch.tensor([[0.5, 0.9, 0.5, 0.7]]), torch.tensor([0, 0]), torch.tensor([2, 3]))
        array([4, 2])
    """
    if not len(rows):
        return np.empty(0, np.int64)
    wanted = scores[rows, cols]
    counts = torch.bincount(rows, minlength=len(scores))
    if scores.is_cpu:
        above, from_it_on = _bisect(scores.numpy(), wanted.numpy(), counts.tolist())
    else:
        ascending = scores.sort(dim=1).values
        place = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
        padded = wanted.new_zeros(len(scores), int(counts.max()))
        padded[rows, place] = wanted
        above = scores.shape[1] - torch.searchsorted(ascending, padded, right=True)[rows, place]
        from_it_on = scores.shape[1] - torch.searchsorted(ascending, padded)[rows, place]
    ranks = 1 + above
    for tied in torch.nonzero(from_it_on - above > 1)[:, 0]:
        before = scores[rows[tied], : cols[tied]]
        ranks[tied] += torch.count_nonzero(before == wanted[tied])
    return ranks.cpu().numpy()


def _bisect(scores: np.ndarray, wanted: np.ndarray, counts: list[int]) -> tuple[Tensor, Tensor]:
    """How many of a row's scores are above each wanted one, and how many are not below it: int64 [p] each."""
    above = np.empty(len(wanted), np.int64)
    from_it_on = np.empty(len(wanted), np.int64)
    first = 0
    for row, count in zip(scores, counts, strict=True):
        if count:
            some = slice(first, first + count)
            values = wanted[some]
            ascending = row.compress(row >= values.min())  # half the time of row[...]
            ascending.sort()
            above[some] = len(ascending) - ascending.searchsorted(values, "right")
            from_it_on[some] = len(ascending) - ascending.searchsorted(values)
            first += count
    return torch.from_numpy(above), torch.from_numpy(from_it_on)


def per_query(rows: np.ndarray, ranks: np.ndarray, average_precision: AveragePrecision) -> PerQuery:
    """Average precision, inverse negative penalty and first rank of each query that has a right answer.

    The i-th right answer at rank r has precision i / r; AP is their mean. Market-1501's own code draws a line
    between precisions instead: (i - 1) / (r - 1), or 1 at rank 1, and i / r weigh half each. A right answer
    that can't be found stands at an infinite rank: its precision is 0, and so is the query's INP.

    Args:
        rows: int [p], the query of each right answer.
        ranks: int [p], from 1; 0 for one that can't be found.
        average_precision: "standard" or "trapezoid".

    Example:
        >>> per_query(np.array([3, 3, 5]), np.array([4, 1, 0]), "standard")
        PerQuery(queries=array([3, 5]), ap=array([0.75, 0. ]), inp=array([0.5, 0. ]),
        first_ranks=array([1, 0]))
    """
    if not len(rows):
        return PerQuery(np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0, np.int64))
    places = np.where(ranks == 0, np.inf, ranks)
    order = np.lexsort((places, rows))
    ranks, places = ranks[order], places[order]
    queries, starts, counts = np.unique(rows[order], return_index=True, return_counts=True)
    found = np.arange(len(ranks)) - np.repeat(starts, counts) + 1
    precision = found / places
    if average_precision == "trapezoid":
        before = np.where(places == 1, 1.0, (found - 1) / np.maximum(places - 1, 1))
        precision = (before + precision) / 2
    ap = np.add.reduceat(precision, starts) / counts
    return PerQuery(queries, ap, counts / places[starts + counts - 1], ranks[starts])
