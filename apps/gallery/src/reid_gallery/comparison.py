"""Models by data sets: a matrix of mAP and Rank-1 with paired tests, beside speed and size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from reid_core.models import Embedder, load
from reid_core.models.folder import WEIGHTS_FILE
from reid_eval import Result
from reid_gallery.data_sets import DataSet
from reid_gallery.proof import compare_scores, describe_machine, file_megabytes
from reid_gallery.scoring import Scored, score
from reid_gallery.speed import images_per_second

TRAINED = "*"
"""Marks a cell whose data set is among what the model was trained on."""
LEVEL = 0.05
"""Of the test: a difference with a smaller p is printed in bold."""
LEAST_AREA, AREA = 30.0, 12.0
"""Area of a point in the figure, in points squared: the least, and for each megabyte."""


@dataclass
class Model:
    """A model in a comparison.

    Attributes:
        name: short and unique.
        path: as it was given.
        megabytes: of its weights' file.
        images_per_second: in the same run as the others.
        training_data: names of data sets, as its config.json says.
    """

    name: str
    path: str
    megabytes: float
    images_per_second: float
    training_data: tuple[str, ...]


@dataclass
class Cell:
    """A model on a data set.

    Attributes:
        model: name.
        data: name of the data set.
        mAP, rank_1: fractions.
        queries: valid ones.
        trained: whether the model was trained on a data set of that name.
        against_first: of "mAP" and "rank_1": difference from the first model, its 95 % interval and p; empty
            for the first model itself.
    """

    model: str
    data: str
    mAP: float
    rank_1: float
    queries: int
    trained: bool
    against_first: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass
class Comparison:
    """A whole comparison, and the results that it is of.

    Attributes:
        models: in the order given.
        cells: model after model, data set after data set.
        machine: what it was measured on.
        results: per-query results, by "MODEL on DATA".
    """

    models: list[Model]
    cells: list[Cell]
    machine: str
    results: dict[str, Result]

    def to_dict(self) -> dict[str, Any]:
        """The content of comparison.json: everything but the results of single queries."""
        return {
            "machine": self.machine,
            "models": [asdict(model) for model in self.models],
            "cells": [asdict(cell) for cell in self.cells],
        }


def compare_models(
    paths: Sequence[str], data: Sequence[DataSet], batch_size: int, device: str = "auto"
) -> Comparison:
    """Score every model on every data set, and test each against the first on the same queries.

    Args:
        paths: model folders or exported files.
        data: data sets with queries and a gallery, of different names.
        batch_size: images at a time.
        device: of torch's models.
    """
    embedders = [load(path) for path in paths]
    speeds = images_per_second(embedders, batch_size, device)
    models = [
        Model(name, path, _megabytes(path), speed, _training_data(embedder))
        for name, path, embedder, speed in zip(short_names(paths), paths, embedders, speeds, strict=True)
    ]
    comparison = Comparison(models, [], describe_machine(), {})
    first: dict[str, Scored] = {}
    for model, embedder in zip(models, embedders, strict=True):
        for one in data:
            scored = score(embedder, one, batch_size, device)
            result = scored.result
            cell = Cell(
                model.name,
                one.name,
                result.mAP,
                result.cmc[1],
                result.num_valid_queries,
                _same(one.name, model.training_data),
            )
            if one.name in first:
                cell.against_first = compare_scores(first[one.name], scored)
            first.setdefault(one.name, scored)
            comparison.cells.append(cell)
            comparison.results[f"{model.name} on {one.name}"] = result
            print(f"{model.name} on {one.name}: mAP {100 * result.mAP:.1f}, Rank-1 {100 * result.cmc[1]:.1f}")
    return comparison


def short_names(paths: Sequence[str]) -> list[str]:
    """What models are called: the file's or folder's name, or as much of the path as tells them apart.

    Args:
        paths: of the models.

    Example:
        >>> short_names(["runs/a/model.onnx", "runs/b/model.onnx", "osnet.onnx"])
        ['a/model.onnx', 'b/model.onnx', 'osnet.onnx']
        >>> short_names(["runs/model", "retail-0277.xml"])
        ['model', 'retail-0277.xml']
    """
    parts = [Path(path).absolute().parts for path in paths]
    names = []
    for own in parts:
        length = 1
        while length < len(own) and sum(other[-length:] == own[-length:] for other in parts) > 1:
            length += 1
        names.append("/".join(own[-length:]))
    return names


def markdown(comparison: Comparison) -> str:
    """The matrix and the models as Markdown tables.

    Args:
        comparison: as `compare_models` gives it.
    """
    sets = list(dict.fromkeys(cell.data for cell in comparison.cells))
    by_place = {(cell.model, cell.data): cell for cell in comparison.cells}
    first = comparison.models[0].name
    rows = [["model", *sets, "images/s", "MB", "trained on"]]
    for model in comparison.models:
        cells = [_cell(by_place[model.name, name]) for name in sets]
        size = (f"{model.images_per_second:.1f}", f"{model.megabytes:.1f}")
        rows.append([model.name, *cells, *size, ", ".join(model.training_data)])
    lines = ["| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in rows]
    lines.insert(1, "| --- " * len(rows[0]) + "|")
    queries = ", ".join(f"{name}: {by_place[first, name].queries}" for name in sets)
    return "\n".join(
        [
            "# Comparison of models",
            "",
            *lines,
            "",
            f"mAP / Rank-1 in %; in brackets the difference of mAP from {first}, in bold where a paired "
            f"randomisation test over the queries gives p < {LEVEL}. {TRAINED} the model was trained on that "
            f"data set. Queries: {queries}. images/s without decoding, all models in turn, on "
            f"{comparison.machine}.",
            "",
        ]
    )


def figure(comparison: Comparison) -> Figure:
    """mAP against images a second, a panel per data set; a point's area grows with the model's size.

    Args:
        comparison: as `compare_models` gives it.
    """
    sets = list(dict.fromkeys(cell.data for cell in comparison.cells))
    drawing = Figure(figsize=(1 + 4 * len(sets), 4), layout="constrained")
    by_name: Mapping[str, Model] = {model.name: model for model in comparison.models}
    for axes, name in zip(drawing.subplots(1, len(sets), squeeze=False)[0], sets, strict=True):
        for cell in (cell for cell in comparison.cells if cell.data == name):
            model = by_name[cell.model]
            place = (model.images_per_second, 100 * cell.mAP)
            axes.scatter(*place, s=LEAST_AREA + AREA * model.megabytes, alpha=0.6)
            label = f"{cell.model}{TRAINED if cell.trained else ''}"
            axes.annotate(label, place, xytext=(4, 6), textcoords="offset points", fontsize=8)
        axes.set(xscale="log", xlabel="images/s", ylabel="mAP, %", title=name)
        axes.margins(0.3)
    return drawing


def metrics(comparison: Comparison) -> dict[str, float]:
    """Numbers by name, for a tracker: MODEL/DATA/mAP and so on.

    Args:
        comparison: as `compare_models` gives it.
    """
    found = {f"{model.name}/images_per_second": model.images_per_second for model in comparison.models}
    for cell in comparison.cells:
        found |= {
            f"{cell.model}/{cell.data}/mAP": cell.mAP,
            f"{cell.model}/{cell.data}/rank_1": cell.rank_1,
        }
    return found


def _cell(cell: Cell) -> str:
    text = f"{100 * cell.mAP:.1f} / {100 * cell.rank_1:.1f}{TRAINED if cell.trained else ''}"
    if not cell.against_first:
        return text
    change = cell.against_first["mAP"]
    shown = f"{100 * change['difference']:+.1f}"
    sure = not math.isnan(change["p"]) and change["p"] < LEVEL
    return f"{text} ({f'**{shown}**' if sure else shown})"


def _megabytes(path: str) -> float:
    place = Path(path)
    return file_megabytes(place / WEIGHTS_FILE if place.is_dir() else place)


def _training_data(embedder: Embedder) -> tuple[str, ...]:
    return embedder.config.training_data if embedder.config else ("unknown",)


def _same(name: str, training_data: Sequence[str]) -> bool:
    """Whether a data set is among the names, however they are spelled."""
    plain = ["".join(filter(str.isalnum, one)).lower() for one in (name, *training_data)]
    return plain[0] in plain[1:]
