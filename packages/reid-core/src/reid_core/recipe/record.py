"""What a run of a recipe leaves in its parent run: settings, data, results, models, pages, a description."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reid_core.files import plain, write_atomically
from reid_core.processes import process_rank
from reid_core.recipe.config import RecipeConfig, public
from reid_core.recipe.curves import draw_curves, read_curves, save_curves
from reid_core.recipe.results import describe_results
from reid_core.recipe.rows import PREPARE
from reid_core.recipe.sources import Sources
from reid_core.recipe.stage import Stage
from reid_core.tracking.tracker import Tracker

RESULTS_FILE = "results.json"
MODEL_FOLDER = "model"
"""Usual name of the model folder in a stage's output; one of another name is named after both."""
FIGURES_FOLDER, REPORT_FILE = "figures", "report.html"
"""Of a stage's output: pictures, and a page to read."""
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


def effective_settings(config: RecipeConfig, order: Sequence[Stage]) -> dict[str, Any]:
    """The settings that a run depends on, as nested mappings.

    Those of every recipe, and what each of the run's stages gets, behind the stage's name: published settings
    are looked up in it, and options without an effect are not there. The part of the configuration that has
    the stage's name has no name of its own there: `pretrain.image_batch`, as the option.

    Args:
        config: the run's.
        order: the stages of the run.

    Returns:
        Name -> setting, or stage -> its settings.
    """
    values = public(config)
    settings = {name.name: values[name.name] for name in dataclasses.fields(RecipeConfig)}
    for stage in order:
        section = plain(stage.section)
        if isinstance(section, dict):
            own = section.pop(stage.name.partition("/")[0], {})
            settings[stage.name] = own | section if isinstance(own, dict) else section
    return settings


def record_models(tracker: Tracker, folders: Mapping[str, Path], registered: str | None, main: str) -> None:
    """Log the model folders of a run's stages as logged models.

    Args:
        tracker: of the parent run.
        folders: stage -> folder of its output.
        registered: name of a registered model, of which a model becomes a new version.
        main: name of the main model, behind that of its data set where there are several: of the stages
            GROUP/NAME that end the recipe its is registered, else the first one's.
    """
    models = [
        (stage, path.parent)
        for stage, folder in folders.items()
        for path in sorted(folder.glob("*/config.json"), key=lambda path: path.parent.name != MODEL_FOLDER)
        if any(path.parent.glob("*.safetensors"))
    ]
    last = [stage for stage, _ in models if stage.partition("/")[0] == models[-1][0].partition("/")[0]]
    ending = "/" + main.rpartition("/")[2]
    chosen = next((stage for stage in last if stage.endswith(ending)), next(iter(last), None))
    for stage, path in models:
        name = stage if path.name == MODEL_FOLDER else f"{stage}-{path.name}"
        version, registered = (registered, None) if stage == chosen else (None, registered)
        tracker.model(path, NO_MODEL_NAME.sub("-", name), version)


def record_pages(tracker: Tracker, folders: Mapping[str, Path], run_folder: Path) -> None:
    """Log the pictures and reports of a run's stages as artifacts, and a picture of their losses.

    Args:
        tracker: of the parent run.
        folders: stage -> folder of its output.
        run_folder: gets the losses as figures/losses.png.
    """
    if curves := read_curves(run_folder):
        path = run_folder / FIGURES_FOLDER / "losses.png"
        save_curves(draw_curves({run_folder.name: curves}), path)
        tracker.artifact(path, FIGURES_FOLDER)
    for folder in folders.values():
        for picture in sorted((folder / FIGURES_FOLDER).glob("*.png")):
            tracker.artifact(picture, FIGURES_FOLDER)
        if (folder / REPORT_FILE).exists():
            tracker.artifact(folder / REPORT_FILE)


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
