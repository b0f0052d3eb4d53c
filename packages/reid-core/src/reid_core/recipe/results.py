"""Results of a recipe as metrics."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

RATES = ("mAP", "mINP", "rank_", "tar_")
"""How the names of metrics begin that are rates from 0 to 1."""
COUNT = "num_"
"""How the name of a count in a result begins: a parameter of the evaluation, no metric."""


def flatten_results(found: Mapping[str, Any], prefix: bool | None = None) -> dict[str, float]:
    """Nested results as metrics by name: of one model by their own names, of several each behind its model's.

    So `scratch/image/mAP` stands beside `pretrained/image/mAP`, and `image/mAP` is of a run with one model.
    Counts are left out: `flatten_counts` gives them.

    Args:
        found: model -> name -> number, or further mappings of these; what is no number is passed over.
        prefix: whether names begin with the model's; by default where there are several models.

    Returns:
        Name, with slashes -> number.

    Example:
        >>> found = {
        ...     "scratch": {"image": {"mAP": 0.25, "num_queries": 240}},
        ...     "pretrained": {"image": {"mAP": 0.5, "by": "cosine"}},
        ... }
        >>> flatten_results(found)
        {'scratch/image/mAP': 0.25, 'pretrained/image/mAP': 0.5}
        >>> flatten_results({"scratch": found["scratch"]})
        {'image/mAP': 0.25}
    """
    prefix = len(found) > 1 if prefix is None else prefix
    return {
        name if prefix else name.removeprefix(f"{model}/"): number
        for model, values in found.items()
        for name, number in _numbers(model, values)
        if not _is_count(name)
    }


def find_metric(results: Mapping[str, float], name: str, main: str) -> float | None:
    """A metric of a run's main model, whether its run has one model or several, on one data set or more.

    Args:
        results: metrics by name, as `flatten_results` gives them.
        name: of the metric, without a model's.
        main: the main model, such as "pretrained" or "market1501/dino".

    Returns:
        Its value, else that of the main data set, else that of the run; None where there is none.

    Example:
        >>> find_metric({"scratch/mAP": 0.2, "pretrained/mAP": 0.4}, "mAP", "pretrained")
        0.4
        >>> find_metric({"msmt17/dino/mAP": 0.2, "msmt17/gain": 0.1}, "gain", "msmt17/dino")
        0.1
    """
    parts = main.split("/")
    names = ["/".join([*parts[:end], name]) for end in range(len(parts), -1, -1)]
    return next((results[one] for one in names if one in results), None)


def flatten_counts(found: Mapping[str, Any]) -> dict[str, int]:
    """Counts of queries, gallery rows and unreadable ones in nested results, by name.

    Example:
        >>> flatten_counts({"evaluate": {"scratch": {"image": {"mAP": 0.25, "num_queries": 240}}}})
        {'evaluate/scratch/image/num_queries': 240}
    """
    named = (pair for name, values in found.items() for pair in _numbers(name, values))
    return {name: int(number) for name, number in named if _is_count(name)}


def describe_results(results: Mapping[str, float]) -> str:
    """Metrics by name as a table in Markdown, one line per part before the last slash.

    Args:
        results: as `flatten_results` gives them.

    Example:
        >>> print(describe_results({"image/mAP": 0.5, "scratch/image/mAP": 0.25, "minutes": 3.0}))
        | | mAP | minutes |
        | --- | ---: | ---: |
        | image | 50.0 % | |
        | scratch/image | 25.0 % | |
        | | | 3 |
    """
    lines: dict[str, dict[str, float]] = {}
    for name, number in results.items():
        model, _, metric = name.rpartition("/")
        lines.setdefault(model, {})[metric] = number
    metrics = list(dict.fromkeys(metric for line in lines.values() for metric in line))

    def cell(metric: str, number: float | None) -> str:
        if number is None:
            return ""
        return f"{100 * number:.1f} %" if metric.startswith(RATES) else f"{number:g}"

    cells = [
        [model, *(cell(metric, line.get(metric)) for metric in metrics)] for model, line in lines.items()
    ]
    rows = [["", *metrics], ["---", *["---:"] * len(metrics)], *cells]
    return "\n".join(re.sub(" +", " ", f"| {' | '.join(row)} |") for row in rows)


def incomplete_results(found: Any, allowed: float, name: str = "") -> Iterator[str]:
    """What was scored with more unreadable queries or gallery rows than are allowed.

    Args:
        found: nested results; the innermost are summaries of `reid_eval.Result`.
        allowed: share of each side that may be unreadable.
        name: stands before the names within.

    Yields:
        A sentence each.

    Example:
        >>> found = {"image": {"num_unreadable_queries": 2, "num_queries": 8}}
        >>> list(incomplete_results(found, 0.01, "evaluate"))
        ['evaluate/image: 2 of 8 queries could not be read']
    """
    if not isinstance(found, Mapping):
        return
    for side in ("queries", "gallery"):
        missing, size = found.get(f"num_unreadable_{side}", 0), found.get(f"num_{side}", 0)
        if missing > allowed * size:
            yield f"{name}: {missing} of {size} {side} could not be read"
    for key, inner in found.items():
        yield from incomplete_results(inner, allowed, f"{name}/{key}".lstrip("/"))


def _is_count(name: str) -> bool:
    return name.rpartition("/")[2].startswith(COUNT)


def _numbers(name: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(f"{name}/{key}", inner)
    elif isinstance(value, int | float):
        yield name, float(value)
