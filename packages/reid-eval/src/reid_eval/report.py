"""One HTML file with everything an evaluation found: it opens from disk and loads nothing from anywhere."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from reid_eval.cameras import CameraPairs
from reid_eval.evaluation import Result
from reid_eval.figures.pictures import as_picture
from reid_eval.figures.style import png
from reid_eval.report_tables import Tasks, camera_tables, comparison, metric_table, unreadable_lines
from reid_eval.saving import write_whole

EXTREMES = 5
"""Queries shown from either end of the ranking by average precision."""
THUMBNAIL = (96, 128)
"""Largest width and height of a picture in a ranked list, pixels."""
PIXELS_AN_INCH = 76
"""Of a figure on the page: three curves stand side by side."""

log = logging.getLogger(__name__)


class Answer(NamedTuple):
    """One place of a ranked list: a picture (see `as_picture`), whether it is right, and text below it."""

    image: object
    correct: bool
    caption: str = ""


class RankedQuery(NamedTuple):
    """A query of the report: its picture, text below it, and its answers, nearest first."""

    image: object
    caption: str
    answers: Sequence[Answer]


def extreme_queries(result: Result, count: int = EXTREMES) -> tuple[np.ndarray, np.ndarray]:
    """Query rows of the lowest and of the highest average precision; equal ones by row.

    Of the queries that hold a feature: the others have no answers to look at.

    Args:
        result: of `evaluate`.
        count: rows at either end; fewer where there are fewer valid queries.

    Returns:
        int64 (worst first, best first).

    Example:
        >>> from reid_eval import evaluate
        >>> features = np.eye(3)[[0, 1, 2, 0, 2, 1]]
        >>> result = evaluate(features[:3], features[3:], [1, 2, 3], [1, 2, 3], [1] * 3, [2] * 3)
        >>> extreme_queries(result, count=1)
        (array([1]), array([0]))
    """
    readable = ~np.isin(result.valid_queries, result.unreadable_queries)
    rows, ap = result.valid_queries[readable], result.ap[readable]
    return rows[np.argsort(ap, kind="stable")[:count]], rows[np.argsort(-ap, kind="stable")[:count]]


def write_report(
    path: str | Path,
    results: Mapping[str, Result] | Mapping[str, Mapping[str, Result]],
    *,
    title: str = "Person re-identification",
    details: Mapping[str, object] | None = None,
    figures: Mapping[str, Figure] | None = None,
    lists: Mapping[str, Sequence[RankedQuery]] | None = None,
    cameras: Mapping[str, CameraPairs] | None = None,
) -> Path:
    """Write the report: tables of the metrics and their intervals, figures, and queries with first answers.

    Pictures are embedded, text is escaped, and the page's content policy forbids everything else. A picture
    that can't be read is shown as missing, counted in the report, and logged.

    Args:
        path: the HTML file; its folder is made, and it is written whole or not at all.
        results: from a name (image, video, or a model's) to a result; or from a task to such a mapping of
            models, each of which is compared with the task's first.
        title: the page's heading.
        details: what else to state, by name: model, data, date, ...
        figures: from a caption to a figure of `reid_eval.figures`.
        lists: from a heading (Worst queries, ...) to queries, as `extreme_queries` and `rank` give them.
        cameras: from a heading to the accuracy of each pair of cameras, as `camera_pairs` gives it.

    Returns:
        The path written.

    Raises:
        ValueError: no result, or something in `lists` that is no image.

    Example:
        >>> import tempfile
        >>> from reid_eval import evaluate
        >>> result = evaluate(np.eye(2), np.eye(2), [1, 2], [1, 2], [1, 1], [2, 2])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page = write_report(f"{folder}/report.html", {"image <b>": result}).read_text()
        >>> "image &lt;b&gt;" in page, "http" in page.replace("http-equiv", "")
        (True, False)
    """
    tasks = _tasks(results)
    if not any(tasks.values()):
        raise ValueError("give at least one result to report, got none")
    unreadable: list[str] = []
    sections = [
        camera_tables(cameras or {}),
        _figures(figures or {}),
        *(_ranked_lists(heading, queries, unreadable) for heading, queries in (lists or {}).items()),
    ]
    if unreadable:
        note = f"{len(unreadable)} pictures could not be read, the first: {unreadable[0]}"
        log.warning("%s", note)
        sections.append(f"<p class=note>{escape(note)}</p>")
    page = PAGE.format(
        title=escape(title),
        style=STYLE,
        details=_details(details or {}),
        comparison=comparison(tasks),
        table=metric_table(tasks),
        unreadable=_unreadable(tasks),
        sections="\n".join(sections),
    )
    return write_whole(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))


def _tasks(
    results: Mapping[str, Result] | Mapping[str, Mapping[str, Result]],
) -> dict[str, dict[str, Result]]:
    tasks: dict[str, dict[str, Result]] = {}
    for name, found in results.items():
        if isinstance(found, Mapping):
            tasks[name] = dict(found)
        else:
            tasks.setdefault("", {})[name] = found
    return tasks


def _unreadable(tasks: Tasks) -> str:
    lines = (
        f"{', '.join(filter(None, (task, model)))}: {line}"
        for task, models in tasks.items()
        for model, result in models.items()
        for line in unreadable_lines(result)
    )
    return "".join(f"<p class=note>{escape(line)}</p>" for line in lines)


def _details(details: Mapping[str, object]) -> str:
    pairs = (f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in details.items())
    return f"<dl>{''.join(pairs)}</dl>" if details else ""


def _figures(figures: Mapping[str, Figure]) -> str:
    pictures = "".join(_figure(caption, figure) for caption, figure in figures.items())
    return f"<section><h2>Figures</h2>{pictures}</section>" if pictures else ""


def _figure(caption: str, figure: Figure) -> str:
    source = _data_uri(png(figure), "png")
    width = round(figure.get_figwidth() * PIXELS_AN_INCH)
    text = escape(caption)
    return f'<figure><img src="{source}" alt="{text}" width={width}><figcaption>{text}</figcaption></figure>'


def _ranked_lists(title: str, queries: Sequence[RankedQuery], unreadable: list[str]) -> str:
    rows = []
    for query in queries:
        cells = [_cell(query.image, "query", "query", "query", query.caption, unreadable)]
        for rank, answer in enumerate(query.answers, start=1):
            kind, mark = ("right", "✓") if answer.correct else ("wrong", "✗")
            said = f"answer {rank}, {kind}"
            cells.append(_cell(answer.image, kind, f"{mark} {rank}", said, answer.caption, unreadable))
        rows.append(
            f'<div class=ranked tabindex=0 role=group aria-label="ranked list">{"".join(cells)}</div>'
        )
    return f"<section><h2>{escape(title)}</h2>{''.join(rows)}</section>"


def _cell(image: object, kind: str, mark: str, said: str, caption: str, unreadable: list[str]) -> str:
    text = escape(f"{said}: {' '.join(caption.split())}" if caption else said)
    try:
        picture = f'<img src="{_thumbnail(image)}" alt="{text}">'
    except OSError as error:  # missing or broken: the rest of the report is still of use
        unreadable.append(f"{image} ({error})")
        picture = "<span class=missing>unreadable</span>"
    return f"<div class={kind}>{picture}<b>{mark}</b><small>{escape(caption)}</small></div>"


def _thumbnail(image: object) -> str:
    small = Image.fromarray(as_picture(image))
    small.thumbnail(THUMBNAIL, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=88)
    return _data_uri(buffer.getvalue(), "jpeg")


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
{details}
{comparison}
<section><h2>All metrics</h2>
<p>Rates in per cent; point at a number for all of its digits.</p>
<div class=wide tabindex=0 role=region aria-label="all metrics">{table}</div>
{unreadable}</section>
{sections}
</body>
</html>
"""

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 1280px;
  margin: 2em auto; padding: 0 1.5em; }
h1 { font-size: 1.6em; margin-bottom: .3em; }
h2 { font-size: 1.15em; margin: 1.6em 0 .5em; }
p, figcaption, small, dl { color: #444; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1em 1em; margin: .5em 0 1em; }
dt { font-weight: 600; }
dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { font-size: .88em; white-space: nowrap; border-collapse: collapse; border-top: 2px solid;
  border-bottom: 2px solid; }
thead { border-bottom: 1px solid; }
th, td { padding: .3em .5em; text-align: right; font-variant-numeric: tabular-nums; }
th:first-child { text-align: left; }
td small { display: block; color: #333; }
#intervals { white-space: normal; }
.cameras td { border: 1px solid #fff; text-align: center; }
.cameras thead th { text-align: center; }
figure { display: inline-block; margin: 1.2em 1em 0 0; vertical-align: top; max-width: 100%; }
figure img { max-width: 100%; height: auto; display: block; }
figcaption { font-size: .9em; }
.ranked { display: flex; gap: 8px; margin-bottom: 14px; overflow-x: auto; padding: 2px; }
.ranked > div { flex: none; width: 88px; text-align: center; break-inside: avoid; }
.ranked img, .missing { box-sizing: border-box; width: 88px; height: 132px; object-fit: contain;
  background: #eee; border: 4px solid; display: block; }
.missing { padding-top: 50px; font-size: .8em; color: #444; }
.ranked b, .ranked small { display: block; font-size: .8em; line-height: 1.3; }
.ranked b { padding-top: 3px; }
.ranked small { white-space: pre-line; }
.query img, .query .missing { border-color: #000; }
.query { margin-right: 14px; }
.right img, .right .missing { border-color: #009E73; }
.right b { color: #00664b; }
.wrong img, .wrong .missing { border-color: #D55E00; border-style: dashed; }
.wrong b { color: #a84a00; }
.note { border-left: 4px solid #D55E00; padding-left: .7em; }
@media (max-width: 600px) { body { margin: 1em auto; padding: 0 .8em; } dl { display: block; }
  dt { margin-top: .4em; } figure { margin-right: 0; } }
@media print { .ranked, .wide { overflow: visible; } body { margin: 0; max-width: none; } }
"""
