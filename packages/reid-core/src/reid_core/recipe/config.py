"""What every recipe can be told, whatever the paper; no torch is imported here."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from reid_core.files import plain
from reid_core.processes import Runtime
from reid_core.recipe.store import STAGES_FOLDER
from reid_core.tracking.events import redact

COMPONENT = re.compile(r"(?!\.+$)[A-Za-z0-9._-]+")
"""What may be a folder's name here."""
C = TypeVar("C")


@dataclass
class RecipeConfig:
    """The part of a recipe's configuration that is no paper's."""

    experiment: str = "experiment"
    """MLflow experiment, and folder below runs."""
    name: str = "run"
    """Name of the run, and folder below the experiment."""
    runs: str = "runs"
    """Folder of all runs."""
    tracking_uri: str | None = None
    """MLflow store; null for MLFLOW_TRACKING_URI, else mlflow.db in the folder of all runs."""
    register: str | None = None
    """Name of a registered model of MLflow; the run's main model becomes a new version of it."""
    seed: int = 0
    """Number that seeds weights, batches and augmentation."""
    allow_unreadable: float = 0.01
    """Share of the queries or of the gallery, from 0 to 1, that may be unreadable; more makes the exit status
    1."""
    runtime: Runtime = field(default_factory=Runtime)
    """What it runs on; changes no result."""

    @property
    def folder(self) -> Path:
        """The run folder, runs/EXPERIMENT/NAME."""
        return Path(self.runs) / self.experiment / self.name


def check_names(config: RecipeConfig) -> None:
    """Refuse an experiment or a name that is not one component of a path.

    Args:
        config: any recipe's.

    Raises:
        ValueError: such a name.

    Example:
        >>> check_names(RecipeConfig(name="../elsewhere"))
        Traceback (most recent call last):
        ValueError: name='../elsewhere': expected letters, digits, dots, underscores and hyphens
    """
    for option in ("experiment", "name"):
        value = getattr(config, option)
        if not COMPONENT.fullmatch(value):
            raise ValueError(f"{option}={value!r}: expected letters, digits, dots, underscores and hyphens")
    if config.experiment == STAGES_FOLDER:
        raise ValueError(f"experiment={STAGES_FOLDER!r} is where stages keep their output; choose another")


def tracking_uri(config: RecipeConfig) -> str:
    """MLflow store of a run.

    Args:
        config: any recipe's.

    Returns:
        What the configuration names, else MLFLOW_TRACKING_URI, else a database in the folder of all runs.

    Example:
        >>> tracking_uri(RecipeConfig(tracking_uri="http://127.0.0.1:5000"))
        'http://127.0.0.1:5000'
    """
    named = config.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    return named or f"sqlite:///{quote(Path(config.runs).as_posix(), safe='/:')}/mlflow.db"


def public(config: RecipeConfig) -> dict[str, Any]:
    """A configuration as it may be written down and logged: without the tracking server's password.

    Args:
        config: any recipe's.

    Example:
        >>> public(RecipeConfig(tracking_uri="http://me:secret@host"))["tracking_uri"]
        'http://me:***@host'
    """
    values: dict[str, Any] = plain(config)
    return values | {"tracking_uri": config.tracking_uri and redact(config.tracking_uri)}


def override(config: C, values: Mapping[str, Any]) -> C:
    """A configuration with some settings changed.

    Args:
        config: dataclasses, nested, a recipe's or a part of one.
        values: dotted name -> value; of a section, a mapping of what changes in it.

    Returns:
        A copy.

    Raises:
        ValueError: no such setting.

    Example:
        >>> override(RecipeConfig(), {"runtime.workers": 4}).runtime.workers
        4
        >>> override(RecipeConfig(), {"runtime": {"workers": 4}}).runtime.workers
        4
    """
    for name, value in values.items():
        config = _replace(config, name.split("."), value, name)
    return config


def _replace(config: Any, path: Sequence[str], value: Any, name: str) -> Any:
    if isinstance(config, Mapping):
        inner = _replace(config.get(path[0]), path[1:], value, name) if len(path) > 1 else value
        return {**config, path[0]: inner}
    if not dataclasses.is_dataclass(config) or not hasattr(config, path[0]):
        raise ValueError(f"{name}: there is no such setting")
    inner = getattr(config, path[0])
    if len(path) > 1:
        inner = _replace(inner, path[1:], value, name)
    elif dataclasses.is_dataclass(inner) and isinstance(value, Mapping):
        for key, each in value.items():
            inner = _replace(inner, key.split("."), each, f"{name}.{key}")
    else:
        inner = value
    return dataclasses.replace(config, **{path[0]: inner})  # type: ignore[type-var]
