"""Curves of the trainings of runs: a panel per kind of stage, a line per variant and run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from reid_core.files import atomic
from reid_core.recipe.store import record, run_links
from reid_core.tracking.events import read_events

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOSS = "loss"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, distinguishable with any colour vision."""
DASHES = ("-", "--", "-.", ":")
PANEL_INCHES = (4.4, 3.4)
Curve = tuple[list[int], list[float]]


def read_curves(run_folder: Path | str, metric: str = LOSS) -> dict[str, Curve]:
    """What the trainings of a run have logged; of a reused stage, what the run that trained it has logged.

    Args:
        run_folder: runs/EXPERIMENT/NAME.
        metric: its name, such as "loss" or "lr".

    Returns:
        Stage -> (optimiser steps, values), for stages that have logged it, in the order of their ends.

    Raises:
        FileNotFoundError: no run folder.
    """
    run_folder = Path(run_folder)
    if not run_folder.is_dir():
        raise FileNotFoundError(f"{run_folder}: there is no such run folder; give runs/EXPERIMENT/NAME")
    logs: dict[Path, dict[str, Curve]] = {}
    done = {stage: about for stage, folder in run_links(run_folder) if (about := record(folder)) is not None}
    found = {}
    for stage in sorted(done, key=lambda stage: str(done[stage]["finished"])):
        about = done[stage].get("log")  # of older stages it is not known
        if about is None:
            continue
        log = run_folder.parents[1] / about["run"]
        if log not in logs:
            logs[log] = _read_log(log, metric)
        if about["key"] in logs[log]:
            found[stage] = logs[log][about["key"]]
    return found


def _read_log(folder: Path, metric: str) -> dict[str, Curve]:
    """Key of a nested run -> its curve."""
    found: dict[str, dict[int, float]] = {}
    for _, event in read_events(folder, 0):
        if event["event"] == "metrics" and metric in event["values"]:
            found.setdefault(event["run"], {})[event["step"]] = event["values"][metric]
    return {key: (sorted(steps), [steps[step] for step in sorted(steps)]) for key, steps in found.items()}


def draw_curves(runs: Mapping[str, Mapping[str, Curve]], metric: str = LOSS) -> Figure:
    """Draw curves: a panel for pre-training, one for fine-tuning, ...; a line per variant and run.

    Args:
        runs: run -> stage -> curve, as `read_curves` gives it.
        metric: what the axis is called.

    Returns:
        A matplotlib Figure.

    Raises:
        ValueError: nothing to draw.

    Example:
        >>> curves = {"pretrain": ([1, 2], [3.0, 2.0]), "finetune/scratch": ([1, 2], [5.0, 4.0])}
        >>> [axes.get_title() for axes in draw_curves({"a": curves}).axes]
        ['pretrain', 'finetune']
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    panels: dict[str, dict[str, Curve]] = {}
    for run, stages in runs.items():
        for stage, curve in stages.items():
            group, _, variant = stage.partition("/")
            label = ", ".join(filter(None, (run if len(runs) > 1 else "", variant)))
            panels.setdefault(group, {})[label] = curve
    if not panels:
        raise ValueError(f"{', '.join(runs)}: no stage has logged {metric!r}")
    width, height = PANEL_INCHES
    figure = Figure(figsize=(width * len(panels), height), dpi=150, layout="constrained")
    row = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (group, curves) in zip(row, panels.items(), strict=True):
        for number, (label, (steps, values)) in enumerate(curves.items()):
            style = {"color": COLOURS[number % len(COLOURS)], "linestyle": DASHES[number % len(DASHES)]}
            marker = "o" if len(steps) == 1 else ""
            axes.plot(steps, values, label=label, marker=marker, **style)
        axes.set(title=group, xlabel="optimiser step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if any(curves):
            axes.legend(fontsize=9, frameon=False)
    row[0].set_ylabel(metric)
    return figure


def save_curves(figure: Figure, path: Path) -> None:
    """Write a figure whole or not at all.

    Args:
        figure: of `draw_curves`.
        path: .png, .pdf or .svg; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip(".") or "png")
