import base64
import contextlib
import json
import logging
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from reid_core.tracking.delivery import Delivery
from reid_core.tracking.tracker import Tracker, flatten, pending, sync

DOWN = "http://127.0.0.1:9"  # the discard port: nothing listens there


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One database for the module: MLflow's migrations take seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture(scope="module")
def client(store):
    import mlflow

    return mlflow.MlflowClient(tracking_uri=store)


def runs_of(client, experiment):
    found = client.get_experiment_by_name(experiment)
    return {run.info.run_name: run for run in client.search_runs([found.experiment_id])}


@pytest.mark.faults
def test_parent_nested_run_params_metrics_tags_and_artifacts_arrive(store, client, tmp_path):
    (tmp_path / "figure.txt").write_text("cmc")
    with Tracker.start("arrive", "r1", tmp_path, store) as run:
        run.params({"data": {"root": "x"}, "seed": 0})
        with run.child("pretrain") as stage:
            for step in range(3):
                stage.metrics({"loss": 1.0 / (step + 1)}, step)
            stage.artifact(tmp_path / "figure.txt", "figures")
    runs = runs_of(client, "arrive")
    parent, nested = runs["r1"], runs["pretrain"]
    assert parent.data.params == {"data.root": "x", "seed": "0"}
    assert parent.data.tags["mlflow.source.git.commit"]
    assert parent.data.tags["version.torch"]
    assert nested.data.tags["mlflow.parentRunId"] == parent.info.run_id
    history = client.get_metric_history(nested.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(0, 1.0), (1, 0.5), (2, pytest.approx(1 / 3))]
    assert [file.path for file in client.list_artifacts(nested.info.run_id, "figures")] == [
        "figures/figure.txt"
    ]
    assert {parent.info.status, nested.info.status} == {"FINISHED"}


@pytest.mark.faults
def test_a_resumed_folder_goes_on_with_its_runs_and_repeats_no_step(store, client, tmp_path):
    first = Tracker.start("resume", "r1", tmp_path, store)
    stage = first.child("pretrain")
    for step in range(4):
        stage.metrics({"loss": float(step)}, step)
    # Killed here, after a half-written line: no close.
    with open(tmp_path / "tracking.jsonl", "a") as file:
        file.write('{"run": "pretr')
    with Tracker.start("resume", "r1", tmp_path, store) as second, second.child("pretrain") as stage:
        for step in range(2, 6):
            stage.metrics({"loss": float(step)}, step)
    runs = runs_of(client, "resume")
    assert set(runs) == {"r1", "pretrain"}
    history = client.get_metric_history(runs["pretrain"].info.run_id, "loss")
    assert [point.step for point in history] == list(range(6))
    assert len(client.search_runs([runs["r1"].info.experiment_id])) == 2


def test_work_that_starts_anew_gets_a_fresh_nested_run_and_the_old_one_is_marked(store, client, tmp_path):
    with Tracker.start("anew", "r1", tmp_path, store) as run:
        run.child("pretrain").metrics({"loss": 1.0}, 0)
        with run.child("pretrain", fresh=True) as stage:
            stage.metrics({"loss": 2.0}, 0)
    found = client.get_experiment_by_name("anew")
    losses = {
        run.data.metrics["loss"]: run.data.tags.get("superseded")
        for run in client.search_runs([found.experiment_id])
        if run.info.run_name == "pretrain"
    }
    assert losses == {1.0: "true", 2.0: None}


def test_a_changed_parameter_becomes_a_tag_because_mlflow_keeps_the_first(store, client, tmp_path):
    for lr in (0.1, 0.2):
        with Tracker.start("changed", "r1", tmp_path, store) as run:
            run.params({"lr": lr})
    run = runs_of(client, "changed")["r1"]
    assert run.data.params["lr"] == "0.1"
    assert run.data.tags["changed.lr"] == "0.2"


@pytest.mark.faults
def test_a_server_that_is_down_is_reported_once_and_synced_later(store, client, tmp_path, caplog):
    with caplog.at_level(logging.WARNING), Tracker.start("later", "r1", tmp_path, DOWN) as run:
        for step in range(200):
            run.metrics({"loss": float(step)}, step)
    assert sum("can't be reached" in record.message for record in caplog.records) == 1
    assert pending(tmp_path, DOWN) > 200
    assert sync(tmp_path).error  # still down: says so, loses nothing
    result = sync(tmp_path, store)
    assert (result.pending, result.refused, result.error) == (0, 0, "")
    run = runs_of(client, "later")["r1"]
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 200
    assert sync(tmp_path, store).sent == 0


@pytest.mark.faults
def test_a_server_that_stays_down_is_said_once(tmp_path, monkeypatch, caplog):
    tries = []

    def fail(folder, uri):
        tries.append(uri)
        return Delivery(0, 3, 0, "refused")

    monkeypatch.setattr("reid_core.tracking.journal.deliver", fail)
    monkeypatch.setattr("reid_core.tracking.journal.RETRY_SECONDS", 0.01)
    run = Tracker.start("later", "r1", tmp_path, DOWN)
    while len(tries) < 3:
        time.sleep(0.01)
    run.close()
    assert sum("can't be reached" in record.message for record in caplog.records) == 1


@pytest.mark.faults
def test_the_end_says_what_is_pending_and_which_command_delivers_it(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("reid_core.tracking.journal.LAST_TRY_SECONDS", 0.1)
    Tracker.start("later", "r1", tmp_path, DOWN, program="vills").close()
    assert f"{pending(tmp_path, DOWN)} events pending: vills sync {tmp_path}" in caplog.text


@pytest.mark.faults
def test_an_exception_marks_the_run_failed(store, client, tmp_path):
    with pytest.raises(ZeroDivisionError), Tracker.start("fails", "r1", tmp_path, store):
        raise ZeroDivisionError
    assert runs_of(client, "fails")["r1"].info.status == "FAILED"


@pytest.mark.faults
def test_a_refused_event_does_not_hold_up_those_behind_it(store, client, tmp_path):
    with Tracker.start("refuse", "r1", tmp_path, store) as run:
        run.metrics({"a name: with *forbidden* signs": 1.0}, 0)
        run.tags({"after": "yes"})
    assert runs_of(client, "refuse")["r1"].data.tags["after"] == "yes"


def test_other_ranks_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with Tracker.start("ranks", "r1", tmp_path / "run", DOWN) as run:
        run.metrics({"loss": 1.0}, 0)
    assert not (tmp_path / "run").exists()


def test_an_artifact_that_does_not_exist_is_an_error_at_once(tmp_path):
    run = Tracker.start("missing", "r1", tmp_path, DOWN)
    with pytest.raises(FileNotFoundError, match="write it before"):
        run.artifact(tmp_path / "nothing.png")


def test_sync_of_a_folder_without_a_journal_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="give a run folder"):
        sync(tmp_path)


def test_flatten_keeps_every_leaf():
    nested = {"a": {"b": {"c": 1}, "d": [1, 2]}, "e": None, "f": {}}
    assert flatten(nested) == {"a.b.c": 1, "a.d": [1, 2], "e": None, "f": {}}
    assert json.dumps(flatten(nested))


class Server:
    """An HTTP server on this machine that answers as told, and remembers what it was asked."""

    def __init__(self, seconds: float = 0.0, status: int = 500) -> None:
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.headers.append(dict(self.headers))
                outer.paths.append(self.path)
                time.sleep(seconds)
                with contextlib.suppress(OSError):
                    self.send_error(status)

            do_POST = do_PUT = do_GET  # noqa: N815

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.port = self.server.server_address[1]

    def uri(self, user=""):
        return f"http://{user}127.0.0.1:{self.port}"


def write_start(folder):
    """The log of a run that has only been started."""
    event = {"run": "", "event": "start", "time": 0, "experiment": "toy", "name": "r1"}
    (folder / "tracking.jsonl").write_text(json.dumps(event) + "\n")


@pytest.mark.faults
def test_a_server_is_asked_for_nothing_but_what_mlflow_asks(tmp_path):
    """A page of health may answer late or not at all where the rest works, behind a log-in for one."""
    write_start(tmp_path)
    server = Server(status=403)
    assert sync(tmp_path, server.uri()).error
    assert server.paths and all(path.startswith("/api/2.0/mlflow/") for path in server.paths)


@pytest.mark.faults
def test_a_slow_server_costs_the_training_thread_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("reid_core.tracking.journal.LAST_TRY_SECONDS", 0.1)
    slow = Server(seconds=3)
    began = time.perf_counter()
    with Tracker.start("slow", "r1", tmp_path, slow.uri()) as run:
        opened = time.perf_counter()
        for step in range(500):
            run.metrics({"loss": 1.0}, step)
            assert time.perf_counter() - opened < 0.5  # for all 500 steps; a call waits 3 s
    assert time.perf_counter() - began < 10
    assert pending(tmp_path, slow.uri()) > 500


@pytest.mark.faults
def test_a_server_that_hangs_holds_up_neither_start_nor_end(tmp_path, monkeypatch):
    monkeypatch.setattr("reid_core.tracking.journal.LAST_TRY_SECONDS", 0.1)
    hanging = Server(seconds=60)
    began = time.perf_counter()
    with Tracker.start("hanging", "r1", tmp_path, hanging.uri()):
        assert time.perf_counter() - began < 8  # one attempt waits for 10 seconds
    assert time.perf_counter() - began < 9


@pytest.mark.faults
def test_a_server_that_hangs_is_given_up_after_one_more_attempt(tmp_path, monkeypatch):
    for name in ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.setenv(name, "")  # so that what is set by default is undone after the test
        monkeypatch.delenv(name)
    monkeypatch.setattr("reid_core.tracking.delivery.REQUEST_SECONDS", "1")
    write_start(tmp_path)
    hanging, results = Server(seconds=60), []
    thread = threading.Thread(target=lambda: results.append(sync(tmp_path, hanging.uri())), daemon=True)
    thread.start()
    thread.join(30)
    assert results and "ReadTimeoutError" in results[0].error and len(hanging.headers) == 2


@pytest.mark.faults
def test_errors_of_the_server_that_pass_are_tried_again(store, client, tmp_path, monkeypatch):
    from mlflow.exceptions import MlflowException

    left = [3]
    original = mlflow_client(store).log_batch

    def failing(*arguments, **options):
        left[0] -= 1
        if left[0] >= 0:
            raise MlflowException("for a while")  # INTERNAL_ERROR, as of a 500
        return original(*arguments, **options)

    with Tracker.start("errors", "r1", tmp_path, DOWN) as run:
        run.metrics({"loss": 1.0}, 0)
    monkeypatch.setattr(mlflow_client(store), "log_batch", failing)
    assert [bool(sync(tmp_path, store).error) for _ in range(4)] == [True, True, True, False]
    assert runs_of(client, "errors")["r1"].data.metrics == {"loss": 1.0}


@pytest.mark.faults
def test_a_kill_just_after_a_run_was_made_leaves_no_second_one(store, client, tmp_path, monkeypatch):
    with Tracker.start("once", "r1", tmp_path, DOWN) as run, run.child("pretrain"):
        pass
    original = mlflow_client(store).create_run

    def dies(*arguments, **options):
        original(*arguments, **options)
        raise KeyboardInterrupt

    for _ in range(2):  # the parent, then the nested run
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(mlflow_client(store), "create_run", dies)
            sync(tmp_path, store)
    assert sync(tmp_path, store).pending == 0
    experiment = client.get_experiment_by_name("once").experiment_id
    assert sorted(run.info.run_name for run in client.search_runs([experiment])) == ["pretrain", "r1"]


@pytest.mark.faults
def test_a_password_reaches_the_server_and_no_file_and_no_message(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("reid_core.tracking.journal.LAST_TRY_SECONDS", 60)
    server = Server(status=403)
    with (
        caplog.at_level(logging.DEBUG),
        Tracker.start("secret", "r1", tmp_path, server.uri("me:swordfish@")) as run,
    ):
        run.metrics({"loss": 1.0}, 0)
    credentials = base64.b64encode(b"me:swordfish").decode()
    assert any(credentials in headers.get("Authorization", "") for headers in server.headers)
    written = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert "***" in written and "swordfish" not in written + caplog.text
    with pytest.raises(ValueError, match="give --tracking_uri with its password"):
        sync(tmp_path)


@pytest.mark.faults
def test_a_password_in_an_error_is_redacted(tmp_path, monkeypatch):
    def fail(uri):
        raise ValueError(f"no store at {uri}")

    monkeypatch.setattr("reid_core.tracking.delivery._cached_client", fail)
    write_start(tmp_path)
    assert sync(tmp_path, "http://me:swordfish@host").error == "no store at http://me:***@host"


@pytest.mark.faults
def test_a_damaged_state_is_set_aside_and_the_runs_are_found_again(store, client, tmp_path, caplog):
    with Tracker.start("damaged", "r1", tmp_path, store) as run:
        run.metrics({"loss": 1.0}, 0)
    (tmp_path / "tracking.json").write_text('{"servers": {"half')
    with Tracker.start("damaged", "r1", tmp_path, store) as run:
        run.metrics({"loss": 2.0}, 1)
    assert "set aside as" in caplog.text and list(tmp_path.glob("tracking.json.damaged-*"))
    runs = client.search_runs([client.get_experiment_by_name("damaged").experiment_id])
    assert len(runs) == 1
    assert {point.value for point in client.get_metric_history(runs[0].info.run_id, "loss")} == {1.0, 2.0}


@pytest.mark.faults
def test_a_damaged_event_is_left_out_and_those_around_it_arrive(store, client, tmp_path, caplog):
    with Tracker.start("holes", "r1", tmp_path, DOWN) as run:
        for step in range(3):
            run.metrics({"loss": float(step)}, step)
    path = tmp_path / "tracking.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    hole = next(number for number, line in enumerate(lines) if b'"step": 1' in line)
    path.write_bytes(b"".join([*lines[:hole], b"\x00\xff" + lines[hole][2:], *lines[hole + 1 :]]))
    Tracker.start("holes", "r1", tmp_path, store).close()
    assert "1 lines are no events" in caplog.text and list(tmp_path.glob("tracking.jsonl.damaged-*"))
    run = runs_of(client, "holes")["r1"]
    assert [p.step for p in client.get_metric_history(run.info.run_id, "loss")] == [0, 2]


@pytest.mark.parametrize("name", ["r%20p", "r q?x", "ü#z"])
def test_a_database_lies_where_its_uri_says_whatever_the_folder_is_called(tmp_path, name):
    from reid_core.recipe.config import RecipeConfig, tracking_uri
    from reid_core.tracking.delivery import connect

    folder = tmp_path / name
    connect(tracking_uri(RecipeConfig(runs=str(folder))))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (folder / "mlflow.db").exists()


def mlflow_client(uri):
    """The client that deliveries to a store use."""
    from reid_core.tracking.delivery import connect

    return connect(uri)
