"""What the command line prints and writes: a result, its report, saved results and their comparison."""

from __future__ import annotations

import json as json_format
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import HORIZONTALS
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from reid_eval.comparison import compare_results, same_queries
from reid_eval.defaults import Evaluation
from reid_eval.evaluation import Result
from reid_eval.figures.curves import cmc_figure, roc_figure, score_histogram_figure
from reid_eval.files import Side, read_sides
from reid_eval.protocols import find_protocol
from reid_eval.ranking import Ranked
from reid_eval.report import Answer, RankedQuery, extreme_queries, write_report
from reid_eval.report_tables import format_interval, format_value, heading, unreadable_lines
from reid_eval.saving import write_whole
from reid_eval.tracking import digest


def print_comparison(first: str, second: str, level: float, seed: int) -> None:
    """Print two saved results side by side; see `reid_eval.commands.compare`."""
    (one, data), (two, other) = load_result(first), load_result(second)
    paired = data == other and same_queries(one, two)
    table = Table(box=HORIZONTALS, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("%", no_wrap=True)
    for title in (Path(first).stem, Path(second).stem, "difference", "p"):
        table.add_column(escape(title), justify="right", no_wrap=True)
    for row in compare_results(one, two, paired, level, seed):
        p = "" if np.isnan(row.p) else f"{row.p:.4f}"
        cells = format_interval(row.first), format_interval(row.second), format_interval(row.difference, "+")
        table.add_row(heading(row.metric), *cells, p)
    console = Console()
    console.print(table)
    console.print(f"In brackets: {100 * level:g} % bootstrap intervals over queries.")
    if paired:
        console.print("p: paired randomisation test over the queries, two-sided.")
    else:
        console.print("The results are not of the same data and queries: no paired test.")


def save_result(result: Result, path: str | Path, sides: tuple[Side, Side]) -> None:
    """Write `Result.to_dict()` as JSON, with the digest of what was evaluated; whole or not at all."""
    text = json_format.dumps(result.to_dict() | {"digest": _digest(sides)}) + "\n"
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def save_indices(path: str, answers: Ranked) -> None:
    """Write the gallery rows of each query's first answers, int64 `[q top]`, as *.npy."""
    write_whole(path, lambda temporary: np.save(temporary, answers.indices))


def load_result(path: str | Path) -> tuple[Result, str]:
    """The result and the data's digest that `save_result` wrote.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no JSON, or no saved result.
    """
    try:
        found = json_format.loads(Path(path).read_text(encoding="utf-8"))
        return Result.from_dict(found), str(found.get("digest", ""))
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path}: expected a result that `reid-eval run --json` wrote; {error}") from None


def publish(
    evaluation: Evaluation,
    sides: tuple[Side, Side],
    result: Result,
    first_answers: Callable[[np.ndarray], Ranked],
) -> None:
    """Print the result, and write what was asked for; `first_answers` is of some queries' rows."""
    _print_result(result, evaluation.mode, sides)
    if evaluation.json is not None:
        save_result(result, evaluation.json, sides)
    if evaluation.report is None:
        return
    lists = {
        name: _ranked_queries(sides, rows, first_answers(rows), result)
        for name, rows in zip(("Worst queries", "Best queries"), extreme_queries(result), strict=True)
        if len(rows)
    }
    details = {
        "protocol": evaluation.protocol,
        "manifest": Path(evaluation.manifest).name,
        "digest": _digest(sides),
        "query features": f"{Path(evaluation.query).name} {list(sides[0].features.shape)}",
        "gallery features": f"{Path(evaluation.gallery).name} {list(sides[1].features.shape)}",
    }
    figures = _figures(result, evaluation.mode)
    results = {str(evaluation.mode): result}
    write_report(evaluation.report, results, details=details, figures=figures, lists=lists)


def options(evaluation: Evaluation) -> dict[str, Any]:
    """Arguments that `evaluate` and `rank` share."""
    return {
        "metric": evaluation.metric,
        "protocol": find_protocol(evaluation.protocol),
        "device": evaluation.device,
    }


def read(evaluation: Evaluation) -> tuple[Side, Side]:
    """Both sides, read and checked, and what can be checked of the options first."""
    find_protocol(evaluation.protocol)
    if evaluation.top < 1:
        raise ValueError(f"top={evaluation.top}: expected 1 or more answers")
    return read_sides(
        evaluation.query,
        evaluation.gallery,
        evaluation.manifest,
        evaluation.mode,
        evaluation.root,
        evaluation.query_valid,
        evaluation.gallery_valid,
    )


def arguments(query: Side, gallery: Side, rows: np.ndarray | slice = slice(None)) -> dict[str, Any]:
    """Both sides, or some queries alone, as `evaluate` and `rank` take them."""
    return {
        "query_features": query.features[rows],
        "gallery_features": gallery.features,
        "query_pids": query.table["pid"].to_numpy()[rows],
        "gallery_pids": gallery.table["pid"].to_numpy(),
        "query_columns": {name: values[rows] for name, values in query.columns().items()},
        "gallery_columns": gallery.columns(),
        "query_valid": query.valid[rows],
        "gallery_valid": gallery.valid,
    }


def _digest(sides: tuple[Side, Side]) -> str:
    return "-".join(digest(side.table)[:16] for side in sides)


def _figures(result: Result, name: str) -> dict[str, Any]:
    figures = {"Cumulative match characteristic": cmc_figure({name: result})}
    if result.roc is not None:
        figures["Receiver operating characteristic over all valid pairs"] = roc_figure({name: result})
        figures["Scores of valid pairs"] = score_histogram_figure(result)
    return figures


def _ranked_queries(
    sides: tuple[Side, Side], rows: np.ndarray, answers: Ranked, result: Result
) -> list[RankedQuery]:
    precision = dict(zip(result.valid_queries.tolist(), result.ap, strict=True))
    query, gallery = sides
    return [
        RankedQuery(
            query.picture(row),
            f"{_caption(query, row)}\nAP {100 * precision[row]:.1f}",
            [
                Answer(gallery.picture(index), bool(right), _caption(gallery, index))
                for index, right in zip(indices.tolist(), correct, strict=True)
                if index >= 0
            ],
        )
        for row, indices, correct in zip(rows.tolist(), *answers, strict=True)
    ]


def _caption(side: Side, row: int) -> str:
    camera = f"\ncamera {side.table['camid'].iat[row]}" if "camid" in side.table else ""
    return f"person {side.table['pid'].iat[row]}{camera}"


def _print_result(result: Result, name: str, sides: tuple[Side, Side]) -> None:
    table = Table("", name)
    table.columns[1].justify = "right"
    for metric, value in result.summary().items():
        table.add_row(heading(metric), format_value(value))
    console = Console()
    console.print(table)
    query, gallery = (side.table["path"].tolist() for side in sides)
    for line in unreadable_lines(result, (query, gallery)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
