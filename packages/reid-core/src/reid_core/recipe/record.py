"""What a run of a recipe leaves in its parent run: data sets, results, models and a description."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reid_core.files import plain, write_atomically
from reid_core.processes import process_rank
from reid_core.recipe.config import RecipeConfig
from reid_core.recipe.results import describe_results
from reid_core.recipe.rows import PREPARE
from reid_core.recipe.sources import Sources
from reid_core.recipe.stage import Stage
from reid_core.tracking.tracker import Tracker

RESULTS_FILE = "results.json"
MODEL_FOLDER = "model"
"""Folder of a stage's output that holds its model folder."""
NOTE = "mlflow.note.content"
"""MLflow's tag of a run's description, in Markdown."""
NO_MODEL_NAME = re.compile(r"[^A-Za-z0-9_-]+")


def record_datasets(
    tracker: Tracker, sources: Sources, prepared: Path, summary: Mapping[str, Any], order: Sequence[Stage]
) -> None:
    """Log each part of the data that a stage reads as an input of the run.

    Args:
        tracker: of the parent run.
        sources: the recipe's.
        prepared: folder of the stage `prepare`.
        summary: of that stage.
        order: the stages of the run.
    """
    roots = sources.roots(prepared)
    parts = {part: None for stage in order for part in stage.reads.get(PREPARE) or ()}
    for part in parts:
        source = part.rpartition("/")[0]
        if source in roots and part in summary["parts"]:
            counts = {name: n for name, n in summary["sources"][source].items() if isinstance(n, int)}
            digest, root = summary["parts"][part], str(roots[source])
            tracker.dataset(sources.reader(source), digest, root, part, counts)


def record_results(
    tracker: Tracker,
    config: RecipeConfig,
    summaries: Mapping[str, Mapping[str, Any]],
    results: Mapping[str, float],
) -> None:
    """Write results.json into the run folder and log it: metrics by name, and each stage's summary.

    Args:
        tracker: of the parent run.
        config: the run's.
        summaries: of the stages.
        results: metrics by name.
    """
    if process_rank() > 0:
        return
    content = {"results": dict(results), "stages": plain(dict(summaries))}
    path = config.folder / RESULTS_FILE
    write_atomically(path, json.dumps(content, indent=1) + "\n")
    tracker.artifact(path)


def record_models(tracker: Tracker, folders: Mapping[str, Path], registered: str | None) -> None:
    """Log the model folders of a run's stages as logged models.

    Args:
        tracker: of the parent run.
        folders: stage -> folder of its output.
        registered: name of a registered model, of which a model becomes a new version: of the last stage
            that has one the first variant, which is the recipe's main one.
    """
    models = {name: folder / MODEL_FOLDER for name, folder in folders.items()}
    models = {name: path for name, path in models.items() if (path / "config.json").exists()}
    groups = [name.partition("/")[0] for name in models]
    main = groups.index(groups[-1]) if groups else None
    for number, (name, path) in enumerate(models.items()):
        tracker.model(path, NO_MODEL_NAME.sub("-", name), registered if number == main else None)


def describe_run(
    results: Mapping[str, float],
    paper: Mapping[str, float],
    runs: Mapping[str, str],
    folders: Mapping[str, Path],
    folder: Path,
) -> str:
    """A run in Markdown: its results beside the paper's, its stages and where its output is.

    Args:
        results: metrics by name.
        paper: the paper's numbers by the same names.
        runs: stage -> key of its nested run, for the stages that this run has done.
        folders: stage -> folder of its output.
        folder: the run's.

    Example:
        >>> stages = {"a": Path("runs/stages/a-1"), "b": Path("runs/stages/b-2")}
        >>> print(describe_run({"mAP": 0.5}, {"mAP": 0.6}, {"b": "b"}, stages, Path("runs/x/y")))
        | | mAP |
        | --- | ---: |
        | | 50.0 % |
        | paper | 60.0 % |
        <BLANKLINE>
        Stages: a (a-1, reused), [b](run:b) (b-2)
        <BLANKLINE>
        Output: runs/x/y
    """
    table = describe_results({**results, **{f"paper/{name}": number for name, number in paper.items()}})
    stages = [
        f"[{name}](run:{runs[name]}) ({path.name})" if name in runs else f"{name} ({path.name}, reused)"
        for name, path in folders.items()
    ]
    return "\n\n".join([*([table] if results else []), f"Stages: {', '.join(stages)}", f"Output: {folder}"])
