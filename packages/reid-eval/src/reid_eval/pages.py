"""Pictures and the report of a whole evaluation: several models on several tasks, the main one last."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from reid_eval.cameras import CameraPairs, camera_pairs
from reid_eval.evaluation import Result
from reid_eval.figures.curves import cmc_figure
from reid_eval.figures.ranked_list import ranked_list_figure
from reid_eval.figures.style import save_figure
from reid_eval.report import Answer, RankedQuery, extreme_queries, write_report
from reid_eval.retrieval import Retrieval, describe_precision, first_answers
from reid_eval.summary import summary_figure

REPORT_FILE, FIGURES_FOLDER = "report.html", "figures"
QUERIES, ANSWERS = 4, 8
"""Of a ranked list."""
FRAMES = 3
"""Of a tracklet's strip in a ranked list."""
MOST_CAMERAS = 20
"""Cameras beyond which a table of pairs is left out: nobody reads so many cells."""


def draw_answers(
    retrieval: Retrieval, rows: np.ndarray, count: int, title: str = "", frames: int = FRAMES
) -> Figure:
    """Draw queries with their first answers and average precision.

    Args:
        retrieval: a model on a task.
        rows: int, of the queries.
        count: answers to each.
        title: over the figure.
        frames: of the strip of a tracklet.
    """
    answers = first_answers(retrieval, rows, count)
    shown = np.unique(answers.indices[answers.indices >= 0]).tolist()
    return ranked_list_figure(
        query_images=[retrieval.query_image(row) for row in rows.tolist()],
        gallery_images={row: retrieval.gallery_image(row) for row in shown},
        indices=answers.indices,
        correct=answers.correct,
        labels=[describe_precision(retrieval.result, row) for row in rows.tolist()],
        title=title,
        frames=frames,
    )


def write_pages(
    folder: str | Path,
    tasks: Mapping[str, Mapping[str, Retrieval]],
    *,
    title: str,
    details: Mapping[str, object] | None = None,
    figures: Mapping[str, Figure] | None = None,
    queries: int = QUERIES,
    answers: int = ANSWERS,
) -> list[Path]:
    """Write figures/cmc.png, summary.png and ranked_TASK.png, and report.html, of an evaluation.

    The CMC curves are of all models; ranked lists, pairs of cameras and the best and worst queries are of the
    last model, which is compared with the first.

    Args:
        folder: to write to.
        tasks: task -> model -> what it did; the models of a task in the same order, the main one last.
        title: of the report.
        details: what else the report is to state.
        figures: more figures of the report, by their captions.
        queries: evenly spaced ones of each ranked list.
        answers: to each query.

    Returns:
        The files.

    Raises:
        ValueError: no task, or a task without a model.

    Example:
        >>> import tempfile
        >>> from reid_eval import evaluate
        >>> sides = {
        ...     "query_features": np.eye(2),
        ...     "gallery_features": np.eye(2),
        ...     "query_pids": [1, 2],
        ...     "gallery_pids": [1, 2],
        ...     "query_camids": [1, 1],
        ...     "gallery_camids": [2, 2],
        ... }
        >>> grey = np.full((32, 16, 3), 127, np.uint8)
        >>> one = Retrieval(evaluate(**sides), sides, lambda row: grey, lambda row: grey)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path.name for path in write_pages(folder, {"image": {"mine": one}}, title="Mine")]
        ['cmc.png', 'summary.png', 'ranked_image.png', 'report.html']
    """
    if not tasks or not all(tasks.values()):
        raise ValueError(f"give at least one task with at least one model, got {dict(tasks)}")
    folder = Path(folder)
    results = {task: {name: one.result for name, one in models.items()} for task, models in tasks.items()}
    curves = cmc_figure(results)
    overview = summary_figure(tasks)
    files = [
        save_figure(curves, folder / FIGURES_FOLDER / "cmc.png"),
        save_figure(overview, folder / FIGURES_FOLDER / "summary.png"),
    ]
    lists: dict[str, list[RankedQuery]] = {}
    cameras: dict[str, CameraPairs] = {}
    for task, models in tasks.items():
        name, main = list(models.items())[-1]
        drawn = draw_answers(
            main, _spread_rows(main.result, queries), answers, f"{task}, {name}: evenly spaced queries"
        )
        slug = re.sub(r"\W+", "_", task.lower()).strip("_")
        files.append(save_figure(drawn, folder / FIGURES_FOLDER / f"ranked_{slug}.png"))
        for kind, rows in zip(("worst", "best"), extreme_queries(main.result), strict=True):
            if len(rows):
                lists[f"{task}, {name}: {kind} queries"] = _list_queries(main, rows, answers)
        if (pairs := _find_pairs(main)) is not None:
            cameras[f"{task}, {name}: from camera to camera"] = pairs
    shown = {"Summary": overview, "Cumulative match characteristic": curves, **(figures or {})}
    path = folder / REPORT_FILE
    write_report(path, results, title=title, details=details, figures=shown, lists=lists, cameras=cameras)
    return [*files, path]


def _find_pairs(retrieval: Retrieval) -> CameraPairs | None:
    """Accuracy from camera to camera, where there is more than one pair and not more than can be read."""
    sides = [retrieval.arguments.get(f"{side}_camids") for side in ("query", "gallery")]
    counts = [0 if camids is None else len(np.unique(camids)) for camids in sides]
    if not 1 < counts[0] * counts[1] <= MOST_CAMERAS**2:
        return None
    return camera_pairs(retrieval.arguments)


def _list_queries(retrieval: Retrieval, rows: np.ndarray, count: int) -> list[RankedQuery]:
    answers = first_answers(retrieval, rows, count)
    return [
        RankedQuery(
            retrieval.query_image(row),
            f"{_caption(retrieval, 'query', row)}\n{describe_precision(retrieval.result, row)}",
            [
                Answer(retrieval.gallery_image(index), bool(right), _caption(retrieval, "gallery", index))
                for index, right in zip(indices.tolist(), correct, strict=True)
                if index >= 0
            ],
        )
        for row, indices, correct in zip(rows.tolist(), *answers, strict=True)
    ]


def _caption(retrieval: Retrieval, side: str, row: int) -> str:
    camids = retrieval.arguments.get(f"{side}_camids")
    camera = "" if camids is None else f"\ncamera {camids[row]}"
    return f"person {retrieval.arguments[f'{side}_pids'][row]}{camera}"


def _spread_rows(result: Result, count: int) -> np.ndarray:
    """Evenly spaced valid queries that hold a feature."""
    rows = result.valid_queries[~np.isin(result.valid_queries, result.unreadable_queries)]
    rows = np.sort(rows) if len(rows) else result.valid_queries
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int))]
