"""One figure of a whole evaluation: each model's mAP on each task, and one query with its first answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure, SubFigure

from reid_eval.comparison import intervals
from reid_eval.figures.pictures import CELL_INCHES, as_picture, show_picture
from reid_eval.figures.ranked_list import mark_answer, mark_query
from reid_eval.figures.style import COLOURS, DPI
from reid_eval.retrieval import Retrieval, describe_precision, first_answers

HATCHES = ("////", "", "....", "xxxx", "\\\\\\\\", "++")
"""Of the bars, so that they differ in print without colour too."""
BARS_INCHES = 3.8
HEIGHT_INCHES = 3.6


def summary_figure(tasks: Mapping[str, Mapping[str, Retrieval]], answers: int = 6) -> Figure:
    """Draw mAP with its 95 % intervals as bars, beside a query that is neither the best nor the worst.

    The query is of the first task, and typical: its average precision is nearest to the mean, for the first
    and the last model together. Its first answers are drawn for both.

    Args:
        tasks: task -> model -> what it did; the models of a task in the same order, the main one last.
        answers: to the query.

    Returns:
        The figure.
    """
    task, models = next(iter(tasks.items()))
    names = list(dict.fromkeys([next(iter(models)), list(models)[-1]]))
    columns = 1 + min(answers, *(models[name].result.num_gallery for name in names))
    width = 0.55 + columns * CELL_INCHES * 1.05
    figure = Figure(figsize=(BARS_INCHES + width, HEIGHT_INCHES), dpi=DPI, layout="constrained")
    parts: Any = figure.subfigures(1, 2, width_ratios=[BARS_INCHES, width])
    left, right = parts
    _draw_bars(left, tasks)
    results = [models[name].result for name in names]
    distances = np.sum([abs(result.ap - result.mAP) for result in results], axis=0)
    query = int(results[-1].valid_queries[np.argmin(distances)])
    grid = right.subplots(len(names), columns, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for row, name in zip(grid, names, strict=True):
        found = first_answers(models[name], np.array([query]), columns - 1)
        show_picture(row[0], as_picture(models[name].query_image(query)))
        mark_query(row[0])
        row[0].set_ylabel(f"{name}\n{describe_precision(models[name].result, query)}", fontsize=9)
        for axes, index, correct in zip(row[1:], found.indices[0], found.correct[0], strict=True):
            if index < 0:
                axes.set_visible(False)
                continue
            show_picture(axes, as_picture(models[name].gallery_image(int(index))))
            mark_answer(axes, bool(correct))
    for column, axes in enumerate(grid[0]):
        axes.set_title("query" if column == 0 else str(column), fontsize=9)
    right.suptitle(
        f"{task}: a typical query (its AP is nearest to the mean), and its first answers", fontsize=10
    )
    right.supxlabel("green, ✓: the query's person      orange, dashed, ✗: another person", fontsize=9)
    return figure


def _draw_bars(figure: SubFigure, tasks: Mapping[str, Mapping[str, Retrieval]]) -> None:
    axes = figure.subplots()
    names = list(dict.fromkeys(name for models in tasks.values() for name in models))
    width = 0.8 / len(names)
    highest = 0.0
    for number, name in enumerate(names):
        places, heights, errors = [], [], []
        for place, models in enumerate(tasks.values()):
            if name not in models:
                continue
            result = models[name].result
            ends = intervals(result, ["mAP"])["mAP"] if result.num_valid_queries > 1 else None
            low, high = (ends.low, ends.high) if ends else (result.mAP, result.mAP)
            places.append(place + (number - (len(names) - 1) / 2) * width)
            heights.append(100 * result.mAP)
            errors.append((100 * (result.mAP - low), 100 * (high - result.mAP)))
        bars = axes.bar(
            places,
            heights,
            width,
            yerr=np.array(errors).T,
            capsize=3,
            label=name,
            color=f"{COLOURS[number % len(COLOURS)]}66",
            edgecolor=COLOURS[number % len(COLOURS)],
            hatch=HATCHES[number % len(HATCHES)],
            error_kw={"linewidth": 1.0},
        )
        tops = [height + error[1] for height, error in zip(heights, errors, strict=True)]
        highest = max([highest, *tops])
        for bar, height, top in zip(bars, heights, tops, strict=True):
            middle = bar.get_x() + bar.get_width() / 2
            axes.text(middle, top + 1, f"{height:.0f}", ha="center", va="bottom", fontsize=9)
    axes.set_xticks(range(len(tasks)), [task.replace("-to-", "-\nto-") for task in tasks], fontsize=9)
    axes.set(ylim=(0, min(118, 1.25 * highest + 5)))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3, axis="y")
    axes.set_axisbelow(True)
    axes.set_title("mAP (%), with 95 % intervals over queries", fontsize=10)
    if len(names) > 1:
        axes.legend(fontsize=9, frameon=False, ncols=2, loc="upper left")
