import json
import logging

import pytest

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


def test_an_exception_marks_the_run_failed(store, client, tmp_path):
    with pytest.raises(ZeroDivisionError), Tracker.start("fails", "r1", tmp_path, store):
        raise ZeroDivisionError
    assert runs_of(client, "fails")["r1"].info.status == "FAILED"


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
