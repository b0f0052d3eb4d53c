"""Curves of an evaluation: cumulative matches, TAR over FAR, and scores of right and wrong pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterMathtext

from reid_eval.evaluation import Result
from reid_eval.figures.style import COLOURS, line_style, new_axes, new_row

SCORES = {"cosine": "Cosine similarity", "euclidean": "Negative squared distance"}
"""What a score is, by a result's metric."""


def cmc_figure(
    results: Mapping[str, Result] | Mapping[str, Mapping[str, Result]], max_rank: int = 20
) -> Figure:
    """Draw cumulative match curves, one a named result, with their mAP in the legend.

    Args:
        results: from a name for the legend to a result; or from the title of a panel to such a mapping, for
            panels side by side.
        max_rank: last rank shown; galleries may be smaller.

    Returns:
        The figure.

    Raises:
        ValueError: no result, or a max_rank below 1.
    """
    panels: dict[str, dict[str, Result]] = {}
    for name, found in results.items():
        if isinstance(found, Mapping):
            panels[name] = dict(found)
        else:
            panels.setdefault("", {})[name] = found
    if not any(panels.values()) or max_rank < 1:
        raise ValueError(f"give at least one result and a max_rank from 1, got {len(results)} and {max_rank}")
    figure, row = new_row(len(panels))
    for axes, (title, named) in zip(row, panels.items(), strict=True):
        for number, (name, result) in enumerate(named.items()):
            curve = 100 * result.cmc_curve[:max_rank]
            axes.plot(
                np.arange(1, len(curve) + 1),
                curve,
                **line_style(number),
                markevery=max(1, max_rank // 10),
                label=f"{name}: Rank-1 {100 * result.cmc_curve[0]:.1f} %, mAP {100 * result.mAP:.1f} %",
            )
        ticks = [rank for rank in (1, 5, 10, 15, 20, 30, 40, 50) if rank <= max_rank]
        axes.set(xlabel="Rank", xticks=ticks, xlim=(0.5, max_rank + 0.5), ylim=(0, 101), title=title)
        axes.legend(fontsize=8, frameon=False, loc="lower right")
    row[0].set_ylabel("Queries with a right answer so far (%)")
    return figure


def roc_figure(results: Mapping[str, Result]) -> Figure:
    """Draw true accept rate over false accept rate, one curve per named result, marked where `tar` was asked.

    Args:
        results: from a name for the legend to a result of `evaluate(..., far=...)`.

    Returns:
        The figure; FAR is logarithmic, from the smallest above zero that was measured.

    Raises:
        ValueError: no result, or one without a ROC.
    """
    if not results:
        raise ValueError("give at least one result, got none")
    figure, axes = new_axes()
    least = 1.0
    for number, (name, result) in enumerate(results.items()):
        if result.roc is None:
            raise ValueError(f"result {name!r} holds no ROC; evaluate it with far=(1e-4, 1e-3, ...)")
        far, tar = result.roc.far, result.roc.tar
        smallest = float(far[far > 0].min(initial=1.0))
        least = min(least, smallest)
        asked = {rate: found for rate, found in result.tar.items() if rate >= smallest}
        points = dict(sorted((dict(zip(far[far > 0], tar[far > 0], strict=True)) | asked).items()))
        shown = list(points)
        axes.plot(
            shown,
            100 * np.array(list(points.values())),
            **line_style(number),
            markevery=[shown.index(rate) for rate in asked],
            label=_tar_label(name, result),
        )
    axes.set(xscale="log", xlim=(least, 1), xlabel="False accept rate", ylabel="True accept rate (%)")
    axes.set_ylim(top=101)
    axes.grid(alpha=0.12, which="minor")
    axes.legend(fontsize=8, frameon=False, loc="best")
    return figure


def _tar_label(name: str, result: Result) -> str:
    if not result.tar:
        return name
    far, tar = min(result.tar.items())
    return f"{name}: TAR {100 * tar:.1f} % at FAR {LogFormatterMathtext()(far)}"


def score_histogram_figure(result: Result) -> Figure:
    """Draw how the scores of right pairs (genuine) and of wrong pairs (impostor) are spread.

    Each is a density of its own, since there are far more wrong pairs than right ones.

    Args:
        result: of `evaluate(..., far=...)`, which counts the scores.

    Returns:
        The figure.

    Raises:
        ValueError: the result holds no score histogram.
    """
    if result.score_histogram is None:
        raise ValueError("the result holds no score histogram; evaluate it with far=(1e-4, 1e-3, ...)")
    edges, genuine, impostor = (np.asarray(values, dtype=float) for values in result.score_histogram)
    figure, axes = new_axes()
    for name, counts, colour, line, hatch in (
        ("different persons", impostor, COLOURS[1], "--", "////"),
        ("same person", genuine, COLOURS[0], "-", ""),
    ):
        density = counts / (counts.sum() * np.diff(edges))
        style: dict[str, Any] = {
            "edgecolor": colour,
            "linestyle": line,
            "linewidth": 1.4,
            "hatch": hatch,
            "hatch_linewidth": 0.5,
        }
        axes.stairs(
            density,
            edges,
            fill=True,
            facecolor=f"{colour}38",
            label=f"{name} ({counts.sum():,.0f} pairs)",
            **style,
        )
    seen = np.flatnonzero(genuine + impostor)
    axes.set(xlim=(edges[seen[0]], edges[seen[-1] + 1]), ylim=(0, None), ylabel="Density")
    axes.set_xlabel(SCORES.get(result.metric, "Score (higher is nearer)"))
    axes.legend(fontsize=8, frameon=False, loc="best")
    return figure
