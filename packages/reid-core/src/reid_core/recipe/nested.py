"""A recipe's stage in a run of its own, nested in the recipe's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from reid_core.files import plain
from reid_core.processes import process_rank
from reid_core.recipe.old_stage import Stage
from reid_core.tracking.tracker import Tracker


def run_stage(
    stage: Stage, tracker: Tracker, work: Callable[[Path, Tracker], dict[str, Any]], collective: bool = False
) -> dict[str, Any]:
    """Run a stage in a nested MLflow run of its name, or say that it is done.

    Args:
        stage: the stage.
        tracker: the recipe's run.
        work: called with the stage's folder and the nested run; returns a JSON-able summary.
        collective: every process enters the work, as for `Stage.run`.

    Returns:
        The summary, of this call or of the one that finished.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with Tracker.start("demo", "first", folder, f"sqlite:///{folder}/mlflow.db") as run:
        ...         run_stage(Stage("count", folder, {"to": 3}), run, lambda out, nested: {"total": 3})
        {'total': 3}
    """
    console = Console(stderr=True, quiet=process_rank() > 0)
    if stage.done and not stage.force:
        console.print(f"[dim]{stage.name}: done before, skipped[/dim] ({stage.folder})")
        return stage.summary
    resumed = stage.resumable and not stage.force
    console.print(f"[bold]{stage.name}[/bold]{' (resumed)' if resumed else ''}")
    with tracker.child(stage.name, fresh=not resumed) as nested:
        settings = plain(stage.config)
        nested.params(settings if isinstance(settings, dict) else {})
        nested.tags({"fingerprint": stage.fingerprint})
        return stage.run(lambda folder: work(folder, nested), collective)
