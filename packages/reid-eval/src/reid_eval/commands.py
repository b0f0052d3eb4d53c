"""What the command line does: evaluate files, re-ranked or not, and compare saved results."""

from __future__ import annotations

import json as json_format
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import HORIZONTALS
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from reid_eval.comparison import LEVEL, Interval, compare_results, same_queries
from reid_eval.evaluation import Result, evaluate
from reid_eval.figures import cmc_figure, roc_figure, score_histogram_figure
from reid_eval.files import Mode, Side, read_sides
from reid_eval.inputs import Metric
from reid_eval.protocols import PROTOCOLS
from reid_eval.ranking import TOP, Ranked, ranked
from reid_eval.report import Answer, RankedQuery, extreme_queries, heading, shown, write_report
from reid_eval.rerank import K1, K2, LAMBDA, k_reciprocal
from reid_eval.tracking import digest

FAR = (1e-4, 1e-3, 1e-2)
"""False accept rates that are usually reported."""


@dataclass(frozen=True)
class Evaluation:
    """What to evaluate, and where to write what was found.

    Args:
        query: features of the query rows, *.npy
        gallery: features of the gallery rows, *.npy
        manifest: Parquet with path, pid, split, and camid, tracklet, frame, clothes, platform as needed
        protocol: which pairs count, by data set
        mode: a row of features is an image, a tracklet (video), or an image asking for tracklets (mix)
        metric: how features are compared
        far: false accept rates to report TAR at; [] leaves out TAR and ROC
        report: HTML file to write, with figures and the best and worst queries
        json: file to write the whole result to, for `compare`
        root: folder of the manifest's paths; by default the one saved in it, or its own
        top: answers kept of each query
        device: where features are compared, such as cuda
    """

    query: str
    gallery: str
    manifest: str
    protocol: str = "market1501"
    mode: Mode = "image"
    metric: Metric = "cosine"
    far: tuple[float, ...] = FAR
    report: str | None = None
    json: str | None = None
    root: str | None = None
    top: int = TOP
    device: str = "cpu"

    def options(self) -> dict[str, Any]:
        """Arguments that `evaluate` and `ranked` share."""
        return {"metric": self.metric, "protocol": PROTOCOLS[self.protocol], "device": self.device}

    def sides(self) -> tuple[Side, Side]:
        """Both sides, read and checked, and what can be checked of the options first."""
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"protocol={self.protocol}: expected one of {', '.join(PROTOCOLS)}")
        if self.top < 1:
            raise ValueError(f"top={self.top}: expected 1 or more answers")
        return read_sides(self.query, self.gallery, self.manifest, self.mode, self.root)


def run(evaluation: Evaluation) -> None:
    """Evaluate features against the manifest that they were extracted from.

    Args:
        evaluation: what and where to.
    """
    sides = evaluation.sides()
    options = evaluation.options()
    result = evaluate(**_arguments(*sides), far=evaluation.far, **options)

    def first_answers(rows: np.ndarray) -> Ranked:
        return ranked(**_arguments(*sides, rows), k=evaluation.top, **options)

    _publish(evaluation, sides, result, first_answers)


def rerank(
    evaluation: Evaluation, k1: int = K1, k2: int = K2, weight: float = LAMBDA, indices: str | None = None
) -> None:
    """Evaluate after re-ranking with k-reciprocal neighbours (Zhong et al., CVPR 2017).

    Args:
        evaluation: what and where to.
        k1: neighbours of the encoding
        k2: nearest encodings averaged; 1 for none
        weight: of the original distance, from 0 to 1; the paper's lambda
        indices: *.npy to write the gallery rows of each query's first answers to, int64 [q top], -1 for none
    """
    if indices is not None and not indices.endswith(".npy"):
        raise ValueError(f"indices={indices}: expected a name that ends in .npy")
    sides = evaluation.sides()
    query, gallery = (side.features for side in sides)
    reranking = k_reciprocal(query, gallery, evaluation.metric, k1=k1, k2=k2, weight=weight)
    shared = {**_arguments(*sides), **evaluation.options(), "reranking": reranking}
    result = evaluate(**shared, far=evaluation.far)
    result = replace(
        result, metric=f"{evaluation.metric}, k-reciprocal"
    )  # its scores are no cosines any more
    answers = ranked(**shared, k=evaluation.top)
    if indices is not None:
        rows = BytesIO()
        np.save(rows, answers.indices)
        _write(indices, rows.getvalue())
    _publish(evaluation, sides, result, lambda rows: Ranked(*(values[rows] for values in answers)))


def compare(first: str, second: str, level: float = LEVEL, seed: int = 0) -> None:
    """Put two saved results side by side, with bootstrap intervals over queries.

    Where both are of the same queries, their difference gets an interval, and a paired test a p-value.

    Args:
        first: JSON file that `run --json` wrote
        second: another one
        level: of the confidence intervals
        seed: of resampling
    """
    (one, data), (two, other) = load_result(first), load_result(second)
    paired = data == other and same_queries(one, two)
    table = Table(box=HORIZONTALS, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("%", no_wrap=True)
    for title in (Path(first).stem, Path(second).stem, "difference", "p"):
        table.add_column(escape(title), justify="right", no_wrap=True)
    for row in compare_results(one, two, paired, level, seed):
        p = "" if np.isnan(row.p) else f"{row.p:.4f}"
        difference = _interval(row.difference, "+")
        table.add_row(heading(row.metric), _interval(row.first), _interval(row.second), difference, p)
    console = Console()
    console.print(table)
    console.print(f"In brackets: {100 * level:g} % bootstrap intervals over queries.")
    if paired:
        console.print("p: paired randomisation test over the queries, two-sided.")
    else:
        console.print("The results are not of the same data and queries: no paired test.")


def save_result(result: Result, path: str | Path, sides: tuple[Side, Side]) -> None:
    """Write `Result.to_dict()` as JSON, with the digest of what was evaluated; whole or not at all."""
    _write(path, (json_format.dumps(result.to_dict() | {"digest": _digest(sides)}) + "\n").encode())


def load_result(path: str | Path) -> tuple[Result, str]:
    """The result and the data's digest that `save_result` wrote.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no JSON, or no saved result.
    """
    try:
        found = json_format.loads(Path(path).read_text(encoding="utf-8"))
        return Result.from_dict(found), str(found.get("digest", ""))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: expected a result that `reid-eval run --json` wrote; {error}") from None


def _publish(
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
    }
    details = {
        "protocol": evaluation.protocol,
        "manifest": Path(evaluation.manifest).name,
        "digest": _digest(sides),
        "query features": f"{Path(evaluation.query).name} {list(sides[0].features.shape)}",
        "gallery features": f"{Path(evaluation.gallery).name} {list(sides[1].features.shape)}",
    }
    figures = _figures(result, evaluation.mode)
    write_report(evaluation.report, {evaluation.mode: result}, details=details, figures=figures, lists=lists)


def _write(path: str | Path, content: bytes) -> None:
    """Write under a temporary name, then rename."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _arguments(query: Side, gallery: Side, rows: np.ndarray | slice = slice(None)) -> dict[str, Any]:
    """Both sides, or some queries alone, as `evaluate` and `ranked` take them."""
    return {
        "query_features": query.features[rows],
        "gallery_features": gallery.features,
        "query_pids": query.table["pid"].to_numpy()[rows],
        "gallery_pids": gallery.table["pid"].to_numpy(),
        "query_columns": {name: values[rows] for name, values in query.columns().items()},
        "gallery_columns": gallery.columns(),
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
        table.add_row(heading(metric), shown(value))
    console = Console()
    console.print(table)
    for kind, side in zip(("query", "gallery"), sides, strict=True):
        if side.skipped:
            console.print(f"{side.skipped} {kind} rows hold no feature and were left out.")


def _interval(interval: Interval, sign: str = "") -> str:
    value, low, high = (100 * number for number in interval)
    ends = "" if np.isnan(low) else f" ({low:.1f}, {high:.1f})"
    return f"{value:{sign}.1f}{ends}"
