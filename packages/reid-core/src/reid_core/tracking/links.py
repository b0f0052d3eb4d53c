"""Where in MLflow's pages a run is."""

from __future__ import annotations

from pathlib import Path

from reid_core.tracking.events import load_state, redact

LOCAL = "http://127.0.0.1:5000"
"""Where `mlflow ui` serves a database on this machine."""


def describe_page(folder: Path | str, uri: str) -> str:
    """How to look at the experiment of a run folder, for people.

    Args:
        folder: run folder.
        uri: MLflow store that the run was tracked to.

    Returns:
        An address, for a database behind the command that serves it; nothing before a run has been delivered.

    Example:
        >>> describe_page("no_such_run", "http://127.0.0.1:5000")
        ''
    """
    shown = redact(uri)
    experiment = load_state(Path(folder))["servers"].get(shown, {}).get("experiment_id")
    if experiment is None:
        return ""
    # A browser that has seen MLflow's other view would open that one.
    place = f"#/experiments/{experiment}/runs?workflowType=machine_learning"
    if uri.startswith(("http://", "https://")):
        return f"{shown.rstrip('/')}/{place}"
    return f"mlflow ui --app-name reid --backend-store-uri {shown}, then {LOCAL}/{place}"
