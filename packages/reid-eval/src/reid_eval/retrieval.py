"""What a model did on a task, and its answers: what figures and reports of an evaluation are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from reid_eval.cameras import take_rows
from reid_eval.evaluation import Result
from reid_eval.ranking import Ranked, rank


class Retrieval(NamedTuple):
    """What one model did on one task.

    Attributes:
        result: of `evaluate`.
        arguments: of `rank`, by name: both sides' features, pids, camids, protocol, ...
        query_image: from a query row to its picture or clip (see `as_picture`).
        gallery_image: the same of the gallery.
    """

    result: Result
    arguments: Mapping[str, Any]
    query_image: Callable[[int], object]
    gallery_image: Callable[[int], object]


def first_answers(retrieval: Retrieval, rows: np.ndarray, count: int) -> Ranked:
    """The first answers to some queries.

    Args:
        retrieval: a model on a task.
        rows: int, of the queries.
        count: answers to each.
    """
    arguments = take_rows(retrieval.arguments, "query", rows)
    return rank(**arguments, k=min(count, len(arguments["gallery_features"])))


def describe_precision(result: Result, query: int) -> str:
    """A query's average precision, for a label.

    Args:
        result: of `evaluate`.
        query: its row.
    """
    found = np.flatnonzero(result.valid_queries == query)
    return f"AP {100 * result.ap[found[0]]:.0f} %" if len(found) else "no right answer"
