"""A paper's tables as data: rows of settings, each run with what they share done once, beside its numbers."""

from __future__ import annotations

import csv
import dataclasses
import html
import io
import itertools
import math
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.box import HORIZONTALS
from rich.console import Console
from rich.table import Table as Grid

from reid_core.files import atomic, write_atomically
from reid_core.processes import share
from reid_core.recipe.config import RecipeConfig, override, tracking_uri
from reid_core.recipe.lease import hold
from reid_core.recipe.results import find_metric, incomplete_results
from reid_core.recipe.rows import PREPARE
from reid_core.recipe.runner import Recipe, needed_stages, run, share_checks
from reid_core.tracking.tracker import Tracker

TABLES_FOLDER = "tables"
WIDTH = 200
"""Columns of a table that does not go to a terminal."""
PER_CENT = "%"
SCALES = {PER_CENT: 100.0, "M": 1e-6}
"""Unit -> what a number of `Recipe.results` is multiplied by; 1 for other units."""


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Args:
        title: the paper's.
        overrides: dotted names in the configuration -> values.
        paper: metric -> the paper's number, in the table's unit, as it prints it.
    """

    title: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    paper: Mapping[str, float] = field(default_factory=dict)

    def format_number(self, metric: str) -> str:
        """The paper's number in its one or two decimals; empty where it has none.

        Args:
            metric: its name.

        Example:
            >>> row = Row("FT-CLIP", paper={"mAP": 78.11, "rank_1": 69.0})
            >>> row.format_number("mAP"), row.format_number("rank_1"), row.format_number("mINP")
            ('78.11', '69.0', '')
        """
        return f"{self.paper[metric]:.2f}".removesuffix("0") if metric in self.paper else ""


@dataclass(frozen=True)
class Table:
    """A table or a sweep of a paper.

    Args:
        name: the option's, such as "lambda_3".
        title: what the paper calls it.
        rows: its lines.
        metrics: those shown, in order; names of `Recipe.results`, without that of the main model, or of the
            paper's numbers.
        until: the last stage that a row needs.
        units: metric -> its unit where it is not per cent: "M" for millions, others for numbers as they are.
        command: what runs it, with the data that it needs; `APP ablate --list` prints it.
        grid: two settings that each row has, for a heat map with the first's values down and the second's
            across; None for a line over the rows.

    Example:
        >>> table = Table("k", "Tab. 9: k", [Row("k = 1", {"k": 1})], ["mAP", "size"], units={"size": "M"})
        >>> table.slug(0), table.headings
        ('k-1', ['mAP', 'size (M)'])
    """

    name: str
    title: str
    rows: Sequence[Row]
    metrics: Sequence[str]
    until: str | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    grid: tuple[str, str] | None = None

    @property
    def caption(self) -> str:
        """The line above it: the title and the unit of metrics without one of their own."""
        return self.title if set(self.metrics) <= set(self.units) else f"{self.title}, in per cent"

    @property
    def headings(self) -> list[str]:
        """Names of the metrics, with their units where these are not per cent."""
        return [f"{name} ({self.units[name]})" if name in self.units else name for name in self.metrics]

    def slug(self, number: int) -> str:
        """A row's name as one component of a path.

        Args:
            number: of the row.
        """
        return re.sub(r"[^A-Za-z0-9.]+", "-", self.rows[number].title).strip("-.").lower() or str(number)


@dataclass(frozen=True)
class Found:
    """A row's numbers.

    Attributes:
        row: the row.
        run: the run's name.
        metrics: metric -> ours, the mean over the row's trials, in the table's unit; None where none is.
        spread: metric -> the standard deviation over the trials (the population's), where there are several.
        incomplete: whether more test images were unreadable than `allow_unreadable`.
    """

    row: Row
    run: str
    metrics: Mapping[str, float | None]
    spread: Mapping[str, float] = field(default_factory=dict)
    incomplete: bool = False


def ablate(recipe: Recipe, config: RecipeConfig, table: Table) -> list[Found]:
    """Run each row of a table as a run of its own, NAME.TABLE.ROW, and write the table beside the paper's.

    Where the recipe has several trials of a row, such as ten divisions of the people, each is a run,
    NAME.TABLE.ROW.NUMBER, and the row is their mean. What rows share (`prepare`, regions, features) is done
    once, since stages lie where their digest says.

    Args:
        recipe: the app's.
        config: what all rows have in common.
        table: its rows.

    Returns:
        The rows' numbers; also as CSV, Markdown, HTML and a figure in the run folder's tables/ and MLflow.

    Raises:
        ValueError: the table has no rows, or a row's settings can't work, by themselves or with the data; all
            rows are checked before the first one runs.
    """
    if not table.rows:
        raise ValueError(f"{table.name} has no rows to run: {table.command}")
    rows = [_trials(recipe, config, table, number) for number in range(len(table.rows))]
    for one in itertools.chain(*rows):
        needed_stages(share_checks(recipe, one), table.until)
    for one in itertools.chain(*rows):  # and against the data
        run(recipe, one, PREPARE)
    found = [_run_row(recipe, table, row, trials) for row, trials in zip(table.rows, rows, strict=True)]
    share(lambda: _publish(recipe.name, table, found, config))
    return found


def _trials(recipe: Recipe, config: RecipeConfig, table: Table, number: int) -> list[RecipeConfig]:
    """The configuration of each run of a row."""
    name = f"{config.name}.{table.name}.{table.slug(number)}"
    one = override(dataclasses.replace(config, name=name), table.rows[number].overrides)
    trials = recipe.trials(one)
    if len(trials) == 1:
        return [override(one, trials[0])]
    return [
        override(dataclasses.replace(one, name=f"{name}.{trial}"), values)
        for trial, values in enumerate(trials)
    ]


def _run_row(recipe: Recipe, table: Table, row: Row, trials: Sequence[RecipeConfig]) -> Found:
    """Run a row's trials and take the means of their numbers."""
    scales = {name: SCALES.get(table.units.get(name, PER_CENT), 1.0) for name in table.metrics}
    values: dict[str, list[float]] = {name: [] for name in scales}
    lost = False
    paper = {name: row.paper[name] / scales[name] for name in scales if row.paper.get(name) is not None}
    for one in trials:
        summaries = run(recipe, one, table.until, paper=paper)
        results = recipe.results(summaries)
        lost |= any(incomplete_results(summaries, one.allow_unreadable))
        for name, scale in scales.items():
            if (number := find_metric(results, name, recipe.main(one))) is not None:
                values[name].append(scale * number)
    ours = {name: statistics.fmean(each) if each else None for name, each in values.items()}
    spread = {name: statistics.pstdev(each) for name, each in values.items() if len(each) > 1}
    return Found(row, trials[0].name, ours, spread, lost)


def _publish(program: str, table: Table, found: Sequence[Found], config: RecipeConfig) -> None:
    with (
        hold(config.folder, f"run {config.experiment}/{config.name}", wait=False),
        Tracker.start(
            config.experiment, config.name, config.folder, tracking_uri(config), program=program
        ) as tracker,
    ):
        for path in write(table, found, config.folder / TABLES_FOLDER):
            tracker.artifact(path, TABLES_FOLDER)
    print_lines(table.caption, list(_cells(table, found)))


def print_lines(title: str, lines: Sequence[Sequence[str]]) -> None:
    """Print a table, numbers to the right.

    Args:
        title: stands above it.
        lines: of equal length, the header first.
    """
    grid = Grid(title=title, box=HORIZONTALS, show_edge=False)
    for number, heading in enumerate(lines[0]):
        grid.add_column(heading, justify="right" if number else "left")
    for line in lines[1:]:
        grid.add_row(*line)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    with console.capture() as text:
        console.print(grid)
    print(text.get(), end="")  # rich would end the process where nobody reads


def write(table: Table, found: Sequence[Found], folder: Path) -> list[Path]:
    """Write a table in each form.

    Args:
        table: what it is.
        found: its rows' numbers.
        folder: gets NAME.csv, .md, .html and .png.

    Returns:
        The files.
    """
    cells = list(_cells(table, found))
    forms: dict[str, Callable[[list[list[str]], str], str]] = {"csv": _csv, "md": markdown, "html": _html}
    files = []
    for suffix, form in forms.items():
        files.append(folder / f"{table.name}.{suffix}")
        write_atomically(files[-1], form(cells, table.caption))
    files.append(folder / f"{table.name}.png")
    figure = _figure(table, found) if table.grid is None else heat_map(table, found, *table.grid)
    with atomic(files[-1]) as temporary:
        figure.savefig(temporary, dpi=150)
    return files


def _cells(table: Table, found: Sequence[Found]) -> Iterable[list[str]]:
    """The header, then a line per row: ours and the paper's number of each metric."""
    yield ["", *(f"{name}{of}" for name in table.headings for of in ("", " (paper)")), "run"]
    for one in found:
        cells = []
        for name in table.metrics:
            ours = "" if one.metrics[name] is None else f"{one.metrics[name]:.1f}"
            deviation = f" ± {one.spread[name]:.1f}" if name in one.spread else ""
            cells += [ours + deviation, one.row.format_number(name)]
        yield [one.row.title, *cells, f"{one.run} (incomplete)" if one.incomplete else one.run]


def markdown(cells: list[list[str]], title: str) -> str:
    """A table as Markdown.

    Args:
        cells: lines of equal length, the header first.
        title: stands above it.

    Example:
        >>> print(markdown([["", "mAP"], ["ours", "40.1"]], "Tab. 1, in per cent"), end="")
        Tab. 1, in per cent
        <BLANKLINE>
        |  | mAP |
        | --- | ---: |
        | ours | 40.1 |
    """
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in cells]
    rule = f"| {' | '.join(['---'] + ['---:'] * (len(cells[0]) - 1))} |"
    return "\n".join([title, "", lines[0], rule, *lines[1:]]) + "\n"


def _csv(cells: list[list[str]], title: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(cells)
    return text.getvalue()


def _html(cells: list[list[str]], title: str) -> str:
    head, *body = [
        "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in line)
        for tag, line in [("th", cells[0]), *(("td", line) for line in cells[1:])]
    ]
    rows = "\n".join(f"<tr>{line}</tr>" for line in body)
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        "<style>body{font:16px/1.5 system-ui,sans-serif;margin:2rem}table{border-collapse:collapse}"
        "th,td{padding:.3rem .8rem;border-bottom:1px solid #999;text-align:right}"
        "th:first-child,td:first-child{text-align:left}</style>\n"
        f"<h1>{html.escape(title)}</h1>\n"
        f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></html>\n"
    )


def _figure(table: Table, found: Sequence[Found]) -> Any:
    """Ours and the paper's numbers over the rows, one panel per metric."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * len(table.metrics), 3.2), layout="constrained")
    titles = [one.row.title for one in found]
    for axes, name in zip(
        figure.subplots(1, len(table.metrics), squeeze=False)[0], table.metrics, strict=True
    ):
        for label, marker, values in (
            ("here", "o", [one.metrics[name] for one in found]),
            ("paper", "s", [one.row.paper.get(name) for one in found]),
        ):
            there = [(at, value) for at, value in enumerate(values) if value is not None]
            if there:
                axes.plot(*zip(*there, strict=True), marker=marker, label=label)
        axes.set_xticks(range(len(titles)), titles, rotation=30, ha="right")
        axes.set(ylabel=f"{name} ({table.units.get(name, PER_CENT)})")
        if axes.has_data():
            axes.legend()
    return figure


def heat_map(table: Table, found: Sequence[Found], down: str, across: str) -> Any:
    """Our numbers in a cell for each pair of two settings' values, one panel per metric.

    Args:
        table: whose rows have both settings.
        found: the rows' numbers; a cell without one is empty.
        down, across: the settings.

    Returns:
        A matplotlib Figure.
    """
    from matplotlib.figure import Figure

    values = {setting: sorted({one.row.overrides[setting] for one in found}) for setting in (down, across)}
    figure = Figure(figsize=(4.2 * len(table.metrics), 3.6), layout="constrained")
    for axes, name in zip(
        figure.subplots(1, len(table.metrics), squeeze=False)[0], table.metrics, strict=True
    ):
        cells = [[math.nan] * len(values[across]) for _ in values[down]]
        for one in found:
            row, column = (values[setting].index(one.row.overrides[setting]) for setting in (down, across))
            if (number := one.metrics[name]) is not None:
                cells[row][column] = number
                axes.text(column, row, f"{number:.1f}", ha="center", va="center")
        axes.imshow(cells, cmap="Blues", aspect="auto")
        axes.set_xticks(range(len(values[across])), values[across])
        axes.set_yticks(range(len(values[down])), values[down])
        axes.set(xlabel=across, ylabel=down, title=f"{name} ({table.units.get(name, PER_CENT)})")
    return figure
