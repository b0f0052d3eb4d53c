"""The part of tracking that talks to MLflow: one client per process and store, no global active run."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from reid_core.tracking.entities import log_dataset, log_model, register_model
from reid_core.tracking.events import load_state, lock_log, log, read_events, redact, save_state

if TYPE_CHECKING:
    from mlflow import MlflowClient

REQUEST_SECONDS = "10"
"""How long MLflow waits for an answer, where the environment does not say (MLflow: 120, and five retries)."""
METRICS_PER_BATCH = 1000  # MLflow's limit for one log_batch call
PARAMS_PER_BATCH = 100  # the same, for parameters and tags
REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS", "INVALID_STATE")
"""MLflow error codes that a later attempt would meet again: the event is dropped, not retried."""


class Delivery(NamedTuple):
    """What came of sending a journal: events sent, left over, and refused for good; why it stopped."""

    sent: int
    pending: int
    refused: int
    error: str


ANY = "*"
RUN_LINK = re.compile(r"\(run:([^)\s]*)\)")
"""A link to another run of the journal, by its key."""
KEY_TAG = "reid.key"
"""Tag that names a run's place in its journal: one that was made just before a kill is found again."""
Events = Callable[[int], Iterator[tuple[int, dict[str, Any]]]]


class Unreachable(ConnectionError):
    """The server doesn't answer, or failed in a way that may pass."""


class Forgotten(Exception):
    """The server no longer knows a run that it was sent before: its store has been replaced."""


def deliver(folder: Path, uri: str) -> Delivery:
    """Send what a tracking server has not been sent of a run folder's event log.

    Args:
        folder: run folder.
        uri: MLflow tracking URI.

    Returns:
        What came of it.
    """
    with lock_log(folder):
        state = load_state(folder)
        server = state["servers"].setdefault(redact(uri), {"sent": 0, "runs": {}})
        if state.pop("damaged", False):
            server["creating"] = ANY  # its runs may be there already

        def save() -> None:
            save_state(folder, state)

        sent, refused, error = 0, 0, ""
        try:
            sent, refused = send(folder, uri, server, functools.partial(read_events, folder), save)
        except Unreachable as problem:
            error = redact(str(problem))
        if sent or refused or error:
            save()
        left = sum(1 for _ in read_events(folder, server["sent"]))
    return Delivery(sent, left, refused, error)


def send(
    folder: Path, uri: str, server: dict[str, Any], events: Events, save: Callable[[], None]
) -> tuple[int, int]:
    """Send a journal's unsent events in order.

    Args:
        folder: run folder, which artifact paths are relative to.
        uri: MLflow tracking URI.
        server: what is known of that server: "sent" (offset into the journal) and "runs" (key -> run id);
            brought up to date in place.
        events: offset -> the journal's events from there on.
        save: called when `server` must reach the disk.

    Returns:
        Number of events sent and number refused for good.

    Raises:
        Unreachable: when the server can't be reached; what was sent before that stands in `server`.
    """
    client = connect(uri)
    try:
        return _send(client, folder, uri, server, events, save)
    except Forgotten:
        server["sent"], server["runs"] = 0, {}
        try:
            return _send(client, folder, uri, server, events, save)
        except Forgotten as error:
            raise Unreachable(str(error)) from error


def _send(
    client: MlflowClient,
    folder: Path,
    uri: str,
    server: dict[str, Any],
    events: Events,
    save: Callable[[], None],
) -> tuple[int, int]:
    sent = refused = 0
    for offset, group in _group_metrics(events(server["sent"])):
        accepted = _try(lambda group=group: _apply(client, folder, uri, server, group, save))  # type: ignore[misc]
        sent += len(group) if accepted else 0
        refused += 0 if accepted else len(group)
        server["sent"] = offset
    return sent, refused


def _group_metrics(
    events: Iterator[tuple[int, dict[str, Any]]],
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Join neighbouring metrics of a run up to one batch; every other event stands alone."""
    group: list[dict[str, Any]] = []
    end = size = 0
    for offset, event in events:
        joins = (
            bool(group)
            and event["event"] == group[0]["event"] == "metrics"
            and event["run"] == group[0]["run"]
            and size + len(event["values"]) <= METRICS_PER_BATCH
        )
        if group and not joins:
            yield end, group
            group, size = [], 0
        group.append(event)
        size += len(event.get("values", ()))
        end = offset
    if group:
        yield end, group


def _try(action: Callable[[], None]) -> bool:
    """Whether the server took it; an error that may pass becomes Unreachable."""
    from mlflow.exceptions import MlflowException

    try:
        action()
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise Forgotten(str(error)) from error
        if error.error_code in REFUSED:
            log.warning("MLflow refused an event: %s", error)
            return False
        raise Unreachable(_first_line(error)) from error
    except FileNotFoundError as error:
        log.warning("an artifact is gone: %s", error)
        return False
    except Forgotten:
        raise
    except Exception as error:  # whatever a store, a proxy or a database driver throws, the run goes on
        raise Unreachable(_first_line(error)) from error
    return True


def _apply(
    client: MlflowClient,
    folder: Path,
    uri: str,
    server: dict[str, Any],
    group: list[dict[str, Any]],
    save: Callable[[], None],
) -> None:
    from mlflow.entities import Metric, Param, RunTag

    event = group[0]
    key, kind = event["run"], event["event"]
    if kind == "start":
        if "experiment" in event:
            server["experiment_id"] = _experiment(client, uri, event["experiment"])
        tags = {"mlflow.runName": event["name"], KEY_TAG: f"{folder.resolve()} {key} {event['time']}"}
        if "parent" in event:
            tags["mlflow.parentRunId"] = server["runs"][event["parent"]]
        server["runs"][key] = _create_run(client, server, key, event["time"], tags, save)
        save()
        return
    run_id = server["runs"][key]
    if kind == "resume":
        client.update_run(run_id, status="RUNNING")
    elif kind == "params":
        params = [Param(name, text) for name, text in event["values"].items()]
        for start in range(0, len(params), PARAMS_PER_BATCH):
            client.log_batch(run_id, params=params[start : start + PARAMS_PER_BATCH])
    elif kind == "tags":
        linked = {name: _link_runs(server, text) for name, text in event["values"].items()}
        tags_ = [RunTag(name, text) for name, text in linked.items()]
        for start in range(0, len(tags_), PARAMS_PER_BATCH):
            client.log_batch(run_id, tags=tags_[start : start + PARAMS_PER_BATCH])
    elif kind == "metrics":
        metrics = [
            Metric(name, value, event["time"], event["step"])
            for event in group
            for name, value in event["values"].items()
        ]
        for start in range(0, len(metrics), METRICS_PER_BATCH):
            client.log_batch(run_id, metrics=metrics[start : start + METRICS_PER_BATCH])
    elif kind == "artifact":
        path = folder / event["path"]
        if not path.exists():
            raise FileNotFoundError(path)
        if path.is_dir():
            client.log_artifacts(run_id, str(path), event["folder"])
        else:
            client.log_artifact(run_id, str(path), event["folder"])
    elif kind == "input":
        log_dataset(client, run_id, event)
    elif kind == "model":
        _log_model(client, folder, server, run_id, event, save)
    elif kind == "end":
        client.set_terminated(run_id, event["status"], end_time=event["time"])


def _link_runs(server: dict[str, Any], text: str) -> str:
    """A text with each `(run:KEY)` of a Markdown link led to the page of that run."""
    page = f"#/experiments/{server.get('experiment_id')}/runs"
    return RUN_LINK.sub(lambda found: f"({page}/{server['runs'].get(found[1], '')})", text)


def _log_model(
    client: MlflowClient,
    folder: Path,
    server: dict[str, Any],
    run_id: str,
    event: dict[str, Any],
    save: Callable[[], None],
) -> None:
    """Log a model once, whatever attempt failed half-way, and register it if that was asked for."""
    path = folder / event["path"]
    if not path.exists():
        raise FileNotFoundError(path)
    models = server.setdefault("models", {})
    place = f"{event['run']} {event['path']} {event['time']}"
    if place not in models:
        models[place] = log_model(client, server["experiment_id"], run_id, path, event["name"])
        save()
    if event.get("registered"):
        register_model(client, run_id, models[place], event["registered"])


def _create_run(
    client: MlflowClient,
    server: dict[str, Any],
    key: str,
    time: int,
    tags: dict[str, str],
    save: Callable[[], None],
) -> str:
    """Id of a new run, or of the one that was made just before a kill that kept it from being noted."""
    experiment = server["experiment_id"]
    if server.get("creating") in (key, ANY):
        value = tags[KEY_TAG].replace("'", "''")
        made = client.search_runs([experiment], f"tags.`{KEY_TAG}` = '{value}'", max_results=1)
        if made:
            return str(made[0].info.run_id)
    if server.get("creating") != ANY:
        server["creating"] = key
        save()
    return str(client.create_run(experiment, start_time=time, tags=tags).info.run_id)


def _experiment(client: MlflowClient, uri: str, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    # A database beside the runs keeps its artifacts there too, wherever the command was called from;
    # a server decides for itself.
    location = None
    if (database := sqlite_file(uri)) is not None:
        location = (database.parent / "mlartifacts" / name).as_uri()
    tags = {"mlflow.experimentKind": "custom_model_development"}  # so that the UI opens its training view
    return str(client.create_experiment(name, artifact_location=location, tags=tags))


def connect(uri: str) -> MlflowClient:
    """The client of a store; the first call imports MLflow and makes its database, which takes seconds.

    Args:
        uri: MLflow tracking URI.

    Raises:
        Unreachable: a locked or unwritable database, a store plugin that is missing.
    """
    try:
        return _cached_client(uri)
    except Exception as error:
        raise Unreachable(_first_line(error)) from error


def import_mlflow(uri: str) -> None:
    """Import what a store's client is made of, which takes seconds; the database itself is not touched.

    Args:
        uri: MLflow tracking URI.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # the log is the better retry
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", REQUEST_SECONDS)
    import mlflow  # noqa: F401

    if sqlite_file(uri):
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


@functools.cache
def _cached_client(uri: str) -> MlflowClient:
    # Migrating a new database takes seconds too: late, and once per process.
    import_mlflow(uri)
    import mlflow

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it tells of each table it makes
    database = sqlite_file(uri)
    if database is None:
        return mlflow.MlflowClient(tracking_uri=uri)
    database.parent.mkdir(parents=True, exist_ok=True)
    literal = Path(uri.removeprefix("sqlite:///")).parent  # MLflow makes it, escapes and all
    before = literal.exists()
    client = mlflow.MlflowClient(tracking_uri=uri)
    if not before:
        with contextlib.suppress(OSError):
            literal.rmdir()
    return client


def sqlite_file(uri: str) -> Path | None:
    """The database's file that a tracking URI names, absolute; None for a server.

    Args:
        uri: MLflow's tracking URI; special characters of a path are escaped as in any URL (`%3F` for `?`).

    Example:
        >>> (
        ...     sqlite_file("sqlite:////data/r%20q%3Fx/mlflow.db").as_posix(),
        ...     sqlite_file("http://127.0.0.1:5000"),
        ... )
        ('/data/r q?x/mlflow.db', None)
    """
    if not uri.startswith("sqlite:///"):
        return None
    return Path(unquote(uri.removeprefix("sqlite:///").partition("?")[0])).absolute()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
