"""Tables of the report: metrics, models beside one another with their intervals, and pairs of cameras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from reid_eval.cameras import CameraPairs
from reid_eval.comparison import Interval, compare_results, intervals, same_queries
from reid_eval.defaults import LEVEL
from reid_eval.evaluation import Result

COMPARED = ("mAP", "rank_1")
"""Metrics with intervals on the page."""
ROWS_NAMED = 5
"""Rows without a feature that are named."""
DARKEST = 0.55
"""Opacity of a cell's shade at 100 %; black text on it keeps a contrast of more than 7."""
Tasks = Mapping[str, Mapping[str, Result]]


def unreadable_lines(
    result: Result, names: tuple[Sequence[object], Sequence[object]] | None = None
) -> list[str]:
    """What a result says of rows without a feature: a sentence per side that has any, naming the first rows.

    Args:
        result: of `evaluate`.
        names: what each query and each gallery row is called, such as its path; by default its row's number.

    Example:
        >>> from reid_eval import evaluate
        >>> case = np.eye(3), np.eye(3), [1, 2, 3], [1, 2, 3], [1] * 3, [2] * 3
        >>> unreadable_lines(evaluate(*case, query_valid=[True, False, True]))
        ['1 of 3 queries hold no feature and count as misses: 1.']
    """
    does = "count as misses" if result.unreadable == "miss" else "are left out"
    queries, gallery = names or (range(result.num_queries), range(result.num_gallery))
    lines = []
    for kind, rows, called in (
        ("queries", result.unreadable_queries, queries),
        ("gallery rows", result.unreadable_gallery, gallery),
    ):
        if len(rows):
            named = [str(called[row]) for row in rows[:ROWS_NAMED].tolist()]
            named += ["..."] if len(rows) > ROWS_NAMED else []
            lines.append(
                f"{len(rows):,} of {len(called):,} {kind} hold no feature and {does}: {', '.join(named)}."
            )
    return lines


def heading(metric: str) -> str:
    """A summary's name as tables print it.

    Example:
        >>> heading("rank_5"), heading("tar_1e-4"), heading("num_valid_queries"), heading("mAP")
        ('Rank-5', 'TAR@1e-4', 'valid queries', 'mAP')
    """
    kind, _, rest = metric.partition("_")
    known = {"rank": f"Rank-{rest}", "tar": f"TAR@{rest}", "num": rest.replace("_", " ")}
    return known.get(kind, metric)


def format_value(value: float | int | str) -> str:
    """A summary's value as tables print it: rates in per cent, counts whole.

    Example:
        >>> format_value(0.12345), format_value(3368), format_value("cosine")
        ('12.3', '3,368', 'cosine')
    """
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{100 * value:.1f}"


def format_interval(interval: Interval, sign: str = "") -> str:
    """A value and its interval in per cent.

    Args:
        interval: fractions.
        sign: "+" for a difference.

    Example:
        >>> format_interval(Interval(0.5, 0.4, 0.6)), format_interval(Interval(0.5), "+")
        ('50.0 (40.0, 60.0)', '+50.0')
    """
    value, low, high = (100 * number for number in interval)
    ends = "" if np.isnan(low) else f" ({low:.1f}, {high:.1f})"
    return f"{value:{sign}.1f}{ends}"


def metric_table(tasks: Tasks) -> str:
    """All metrics in HTML, a row per result; cells hold the number in full, too.

    Args:
        tasks: task, which may be "" -> model -> result.
    """
    summaries = {
        ", ".join(filter(None, (task, model))): result.summary()
        for task, models in tasks.items()
        for model, result in models.items()
    }
    metrics = list(dict.fromkeys(metric for summary in summaries.values() for metric in summary))
    head = "".join(f"<th scope=col>{escape(heading(metric))}</th>" for metric in metrics)
    rows = []
    for name, summary in summaries.items():
        cells = [f"<th scope=row>{escape(name)}</th>"]
        for metric in metrics:
            if metric not in summary:
                cells.append("<td>–</td>")
                continue
            whole = escape(str(summary[metric]))
            text = escape(format_value(summary[metric]))
            cells.append(
                f'<td data-metric="{escape(metric)}" data-value="{whole}" title="{whole}">{text}</td>'
            )
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f"<table id=metrics><thead><tr><th scope=col>result</th>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def comparison(tasks: Tasks) -> str:
    """Models with their intervals in HTML, and what each gains over the first of its task; or nothing.

    Args:
        tasks: task -> model -> result; a result of fewer than two valid queries has no interval.
    """
    rows: list[list[str]] = []
    for task, models in tasks.items():
        named = [(model, result) for model, result in models.items() if result.num_valid_queries > 1]
        for number, (model, result) in enumerate(named):
            found = intervals(result, COMPARED)
            title = ", ".join(filter(None, (task, model)))
            rows.append(
                [title, *(format_interval(found[name]) if name in found else "–" for name in COMPARED)]
            )
            if task and number and same_queries(named[0][1], result):
                rows.append([f"gain over {named[0][0]}", *_gains(named[0][1], result)])
    if not rows:
        return ""
    head = "".join(f"<th scope=col>{text}</th>" for text in ("result", *map(heading, COMPARED)))
    body = "".join(
        f"<tr><th scope=row>{escape(title)}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        for title, *cells in rows
    )
    note = (
        f"In brackets: {100 * LEVEL:g} % bootstrap intervals over the queries. They say how sure the mean "
        "over queries is, not what another training seed would give. p: paired randomisation test, two-sided."
    )
    return (
        f"<section><h2>Models and their uncertainty, %</h2><div class=wide tabindex=0 role=region "
        f'aria-label="intervals"><table id=intervals>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div><p>{note}</p></section>"
    )


def _gains(first: Result, second: Result) -> list[str]:
    rows = {row.metric: row for row in compare_results(first, second, paired=True, metrics=COMPARED)}
    return [
        f"{format_interval(rows[name].difference, '+')}<small>p = {rows[name].p:.4f}</small>"
        if name in rows
        else "–"
        for name in COMPARED
    ]


def camera_tables(cameras: Mapping[str, CameraPairs]) -> str:
    """Accuracy from camera to camera in HTML.

    Args:
        cameras: heading -> accuracy of each pair.
    """
    return "".join(_camera_table(title, pairs) for title, pairs in cameras.items())


def _camera_table(title: str, pairs: CameraPairs) -> str:
    head = "".join(f"<th scope=col>to camera {camera}</th>" for camera in pairs.gallery_cameras.tolist())
    rows = []
    for row, camera in enumerate(pairs.query_cameras.tolist()):
        cells = []
        for mean, first, count in zip(pairs.mAP[row], pairs.rank_1[row], pairs.queries[row], strict=True):
            if not count:
                cells.append("<td>–</td>")
                continue
            shade = f"background: rgb(86 180 233 / {DARKEST * mean:.2f})"
            rates = f"{100 * mean:.1f} / {100 * first:.1f}"
            cells.append(f'<td style="{shade}">{rates}<small>{count:,} queries</small></td>')
        rows.append(f"<tr><th scope=row>from camera {camera}</th>{''.join(cells)}</tr>")
    return (
        f"<section><h2>{escape(title)}</h2><div class=wide tabindex=0 role=region "
        f'aria-label="{escape(title)}"><table class=cameras>'
        f"<thead><tr><th scope=col>mAP / Rank-1, %</th>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div></section>"
    )
