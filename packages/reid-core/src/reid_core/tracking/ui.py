"""MLflow's server with pages that open on trainings: `mlflow ui --app-name reid`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DEFAULTS = {
    "mlflow.workflowType_v1": "machine_learning",
    "mlflow.settings.telemetry.enabled_v1": False,
    "mlflow.telemetry.info.alert.dismissed_v1": True,
    "mlflow.home.getting-started.collapsed_v1": True,
    "mlflow.assistant.panelOpen_v1": False,
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": True,
}
"""What a browser that has not been here before is to find in its storage, by MLflow's own names.

Pages begin on trainings, not on traces of language models; telemetry is off; no panel covers them.
"""


def create_app() -> Any:
    """MLflow's server; `mlflow ui` calls it, by the name "reid" among the entry points `mlflow.app`.

    Returns:
        the ASGI application.
    """
    from mlflow.server import app as pages
    from mlflow.server.fastapi_app import app

    def first_page() -> str:
        return with_defaults(Path(str(pages.static_folder), "index.html").read_text(encoding="utf-8"))

    pages.view_functions["serve"] = first_page
    return app


def with_defaults(page: str) -> str:
    """The page that all of MLflow's are drawn in, with a script that sets DEFAULTS where nothing is set.

    Args:
        page: HTML.

    Example:
        >>> with_defaults("<html><head><title>MLflow</title></head></html>")[:20]
        '<html><head><script>'
    """
    values = json.dumps({name: json.dumps(value) for name, value in DEFAULTS.items()})
    script = (
        f"for (const [name, value] of Object.entries({values})) "
        "if (localStorage.getItem(name) === null) localStorage.setItem(name, value)"
    )
    return page.replace("<head>", f"<head><script>{script}</script>", 1)
