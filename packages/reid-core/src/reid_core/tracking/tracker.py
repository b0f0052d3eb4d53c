"""Local-first experiment tracking: every event goes to a journal in the run folder, then to MLflow.

The journal (`tracking.jsonl`) is a write-ahead log. Delivery reads it from where it last got to, so a server
that is down costs nothing but delay: the run continues, and `sync` (or the next run of the folder) brings in
what is missing. What has been delivered where stands in `tracking.json`, by tracking URI.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from reid_core.files import OwnershipLost, plain
from reid_core.processes import process_rank
from reid_core.tracking.delivery import Delivery, deliver
from reid_core.tracking.events import JOURNAL_FILE, load_state, log, read_events, redact
from reid_core.tracking.journal import Journal
from reid_core.tracking.system import PREFIX, monitor_system

DEFAULT_TRACKING_URI = "sqlite:///runs/mlflow.db"
PARAM_LENGTH = 6000  # MLflow's limit for one parameter's value
TRACKED_PACKAGES = (
    *("reid-core", "reid-eval", "reid-lse", "reid-denoise", "reid-adapters", "reid-pretrain"),
    *("torch", "torchvision", "timm", "lightning", "numpy", "mlflow"),
)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested configuration -> dotted names, as the command line spells them.

    Args:
        config: nested mappings of plain values; a list is kept as one value.
        prefix: put before each name.

    Returns:
        Dotted name -> value.

    Example:
        >>> flatten({"data": {"root": "x", "sizes": [1, 2]}, "seed": 0})
        {'data.root': 'x', 'data.sizes': [1, 2], 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def environment_tags() -> dict[str, str]:
    """Git revision of the code and versions of the packages that decide a result.

    Returns:
        MLflow tag -> value: `mlflow.source.git.commit`, `git.dirty`, `version.PACKAGE`.

    Example:
        >>> "version.torch" in environment_tags()
        True
    """
    tags = {}
    for package in TRACKED_PACKAGES:
        try:
            tags[f"version.{package}"] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    here = Path(__file__).parent
    try:
        revision = _git(here, "rev-parse", "HEAD")
        tags |= {
            "mlflow.source.git.commit": revision,
            "git.dirty": str(bool(_git(here, "status", "--porcelain"))),
        }
    except (OSError, subprocess.SubprocessError):
        tags["mlflow.source.git.commit"] = "unknown"
    return tags


class Tracker:
    """One MLflow run, or one nested in another; made by `Tracker.start` and `Tracker.child`.

    All calls are safe in every process of a distributed job: only rank 0 writes.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     down = "http://127.0.0.1:9"
        ...     import logging
        ...
        ...     logging.disable(logging.WARNING)
        ...     with Tracker.start("demo", "first", Path(folder), tracking_uri=down) as run:
        ...         run.params({"lr": 0.1})
        ...         with run.child("pretrain") as stage:
        ...             stage.metrics({"loss": 1.0}, step=0)
        ...     logging.disable(logging.NOTSET)
        ...     pending(Path(folder), down) > 0  # kept for `sync`
        True
    """

    def __init__(self, journal: Journal, key: str, program: str = "") -> None:
        self._journal = journal
        self.key = key
        self._program = program

    @classmethod
    def start(
        cls,
        experiment: str,
        run_name: str,
        folder: Path | str,
        tracking_uri: str | None = None,
        tags: Mapping[str, str] | None = None,
        program: str = "reid_core.tracking",
    ) -> Tracker:
        """Start the run of a folder, or continue it.

        Args:
            experiment: MLflow experiment.
            run_name: name of the parent run.
            folder: run folder; the journal is kept in it.
            tracking_uri: MLflow store; by default MLFLOW_TRACKING_URI, else `sqlite:///runs/mlflow.db`.
            tags: further tags, beside git revision and package versions.
            program: the app's, whose command `sync` delivers what is left.

        Returns:
            The parent run's tracker.
        """
        uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_TRACKING_URI
        journal = Journal(Path(folder), uri, enabled=process_rank() == 0)
        for key in sorted(journal.running - {""}):  # what a kill has left; `child` resumes it
            journal.append(key, "end", status="KILLED")
        tracker = cls(journal, "", program)
        journal.begin("", {"experiment": experiment, "name": run_name})
        tracker.tags({**environment_tags(), **(tags or {})})
        return tracker

    def child(self, name: str, fresh: bool = False) -> Tracker:
        """A run nested in this one.

        Args:
            name: its name, such as a stage's; the same name continues the same run.
            fresh: begin a new run under that name, for work that starts anew; the old one is marked.

        Returns:
            The nested run's tracker.
        """
        base = f"{self.key}/{name}".strip("/")
        attempts = [key for key in self._journal.started if key.partition("#")[0] == base]
        key = attempts[-1] if attempts else base
        if fresh and attempts:
            self._journal.append(key, "tags", values={"superseded": "true"})
            self._journal.append(key, "end", status="KILLED")
            key = f"{base}#{len(attempts) + 1}"
        self._journal.begin(key, {"parent": self.key, "name": name})
        return Tracker(self._journal, key)

    def params(self, values: Mapping[str, Any]) -> None:
        """Log parameters; MLflow never changes one, so a new value for an old name becomes a tag.

        Args:
            values: name -> value; nested mappings get dotted names.
        """
        known = self._journal.known_params.setdefault(self.key, {})
        texts = {name: str(value)[:PARAM_LENGTH] for name, value in flatten(plain(values)).items()}
        new = {name: text for name, text in texts.items() if name not in known}
        changed = {name: text for name, text in texts.items() if known.get(name, text) != text}
        if new:
            self._journal.append(self.key, "params", values=new)
        if changed:
            self.tags({f"changed.{name}": text for name, text in changed.items()})

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics of a step; a step that this run has logged already (before a kill) is not repeated.

        Args:
            values: name -> number.
            step: optimiser step, from 0.
        """
        seen = self._journal.last_steps.setdefault(self.key, {})
        fresh = {name: float(value) for name, value in values.items() if step > seen.get(name, -1)}
        if fresh:
            self._journal.append(self.key, "metrics", values=fresh, step=int(step))

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags.

        Args:
            values: name -> text.
        """
        self._journal.append(self.key, "tags", values={name: str(value) for name, value in values.items()})

    def artifact(self, path: Path | str, folder: str | None = None) -> None:
        """Log a file or folder; it is read at delivery, so it must stay where it is.

        Args:
            path: existing file or folder, best inside the run folder.
            folder: folder among the run's artifacts.

        Raises:
            FileNotFoundError: when there is no such file.
        """
        self._journal.append(self.key, "artifact", path=self._relative(path, "artifact"), folder=folder)

    def _relative(self, path: Path | str, what: str) -> str:
        """A file's place below the run folder if it is there, else its absolute path."""
        path = Path(path).resolve()
        if not path.exists():
            raise FileNotFoundError(f"{what} {path} doesn't exist: write it before it is logged")
        root = self._journal.folder.resolve()
        return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()

    def dataset(
        self, name: str, digest: str, source: str, context: str, profile: Mapping[str, Any] | None = None
    ) -> None:
        """Log a data set as an input of the run; the same one is logged once.

        Args:
            name: of the data set.
            digest: of its content.
            source: where it lies.
            context: what it is read for, such as "train".
            profile: counts.
        """
        values = {"name": name, "digest": digest, "source": source, "context": context}
        if self._journal.note_once(self.key, "input", f"{name} {digest} {context}"):
            self._journal.append(self.key, "input", **values, profile=plain(profile or {}))

    def model(self, path: Path | str, name: str, registered: str | None = None) -> None:
        """Log a model folder as a logged model of the run; the same folder is logged once.

        Args:
            path: the model folder, inside the run folder or of a stage.
            name: of the logged model.
            registered: name of a registered model that gets a new version.

        Raises:
            FileNotFoundError: when there is no such folder.
        """
        place = self._relative(path, "model folder")
        if self._journal.note_once(self.key, "model", f"{place} {registered or ''}"):
            self._journal.append(self.key, "model", path=place, name=name, registered=registered)

    def monitor(self) -> AbstractContextManager[None]:
        """Log system metrics while a block runs, on rank 0 and where psutil is installed."""
        if process_rank() > 0:
            return nullcontext()
        steps = self._journal.last_steps.get(self.key, {})
        last = max((step for name, step in steps.items() if name.startswith(PREFIX)), default=-1)
        return monitor_system(self.metrics, last + 1)

    def close(self, status: str = "FINISHED") -> None:
        """End the run; the end of a parent run waits for its events to be delivered, but not for ever.

        Args:
            status: FINISHED, FAILED or KILLED.
        """
        self._journal.append(self.key, "end", status=status)
        if not self.key and (left := self._journal.finish()):
            log.warning("%d events pending: %s sync %s", left, self._program, self._journal.folder)

    def wait_until_imported(self) -> None:
        """Wait until MLflow is imported, before other processes are forked."""
        self._journal.wait_until_imported()

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OwnershipLost):
            return  # the run folder is another process's now
        interrupted = kind is not None and not issubclass(kind, Exception)
        self.close("KILLED" if interrupted else "FAILED" if kind else "FINISHED")


def sync(folder: Path | str, tracking_uri: str | None = None) -> Delivery:
    """Send what of a run folder's journal has not reached a tracking server.

    Args:
        folder: run folder.
        tracking_uri: where to; by default the server that the run was started with. Another server than
            before gets the whole run.

    Returns:
        How many events were sent, are left and were refused, and the error that stopped it, if any.

    Raises:
        FileNotFoundError: when the folder has no journal.
    """
    folder = Path(folder)
    if not (folder / JOURNAL_FILE).exists():
        raise FileNotFoundError(f"no {JOURNAL_FILE} in {folder}: give a run folder, runs/EXPERIMENT/RUN")
    uri = tracking_uri or load_state(folder).get("last_uri") or os.environ.get("MLFLOW_TRACKING_URI")
    if uri and ":***@" in uri:
        named = os.environ.get("MLFLOW_TRACKING_URI", "")
        if redact(named) != uri:
            raise ValueError(f"the run's server is {uri}: give --tracking_uri with its password")
        uri = named
    return deliver(folder, uri or DEFAULT_TRACKING_URI)


def pending(folder: Path | str, tracking_uri: str) -> int:
    """Number of a journal's events that have not been sent to a server.

    Args:
        folder: run folder.
        tracking_uri: the server.

    Returns:
        The number of events.
    """
    sent = load_state(Path(folder))["servers"].get(redact(tracking_uri), {}).get("sent", 0)
    return sum(1 for _ in read_events(Path(folder), sent))


def _git(folder: Path, *command: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *command], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
