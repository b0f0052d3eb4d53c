"""Data sets, models, links and system metrics of a run, as MLflow keeps them."""

from __future__ import annotations

import json
import time

import pytest
from mlflow import MlflowClient

from reid_core.tracking import Tracker
from reid_core.tracking.system import monitor_system


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One database for the module: MLflow's migrations take seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('store').as_posix()}/mlflow.db"


@pytest.fixture(scope="module")
def client(store: str) -> MlflowClient:
    return MlflowClient(tracking_uri=store)


def parent(client: MlflowClient, experiment: str):
    experiment = client.get_experiment_by_name(experiment).experiment_id
    runs = client.search_runs([experiment])
    return next(run for run in runs if "mlflow.parentRunId" not in run.data.tags)


def test_a_data_set_is_an_input_once_with_its_source_counts_and_context(store, client, tmp_path):
    for _ in range(2):  # the second time the folder is resumed
        with Tracker.start("entities0", "run", tmp_path / "run", store) as run:
            run.dataset("market1501", "0a" * 30, "/data/market", "data.image/train", {"images": 12936})
    (one,) = parent(client, "entities0").inputs.dataset_inputs
    assert (one.dataset.name, one.dataset.digest) == ("market1501", "0a" * 18)
    assert json.loads(one.dataset.source) == {"uri": "/data/market"}
    assert json.loads(one.dataset.profile) == {"images": 12936}
    assert [tag.value for tag in one.tags] == ["data.image/train"]


def test_a_model_folder_becomes_a_logged_model_and_a_registered_version_when_asked(store, client, tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    for _ in range(2):
        with Tracker.start("entities1", "run", tmp_path / "run", store) as run:
            run.model(tmp_path / "first", "first")
            run.model(tmp_path / "second", "second", registered="people")
    outputs = [
        client.get_logged_model(one.model_id) for one in parent(client, "entities1").outputs.model_outputs
    ]
    assert sorted((model.name, model.status.value) for model in outputs) == [
        ("first", "READY"),
        ("second", "READY"),
    ]
    (version,) = client.search_model_versions()
    (second,) = [model for model in outputs if model.name == "second"]
    assert (version.name, version.source) == ("people", second.artifact_location)


def test_a_model_folder_that_does_not_exist_is_an_error_at_once(tmp_path):
    with (
        Tracker.start("entities2", "run", tmp_path / "run", "http://127.0.0.1:9") as run,
        pytest.raises(FileNotFoundError, match="nowhere"),
    ):
        run.model(tmp_path / "nowhere", "none")


def test_links_of_a_description_lead_to_nested_runs(store, client, tmp_path):
    with Tracker.start("entities3", "run", tmp_path / "run", store) as run:
        with run.child("stage"):
            pass
        run.tags({"mlflow.note.content": "[stage](run:stage)"})
    nested = next(
        one.info.run_id
        for one in client.search_runs([parent(client, "entities3").info.experiment_id])
        if "mlflow.parentRunId" in one.data.tags
    )
    note = parent(client, "entities3").data.tags["mlflow.note.content"]
    assert note == f"[stage](#/experiments/{parent(client, 'entities3').info.experiment_id}/runs/{nested})"


def test_system_metrics_are_numbered_on_from_the_last_sample(store, client, tmp_path):
    with Tracker.start("entities4", "run", tmp_path / "run", store) as run:
        run.metrics({"system/cpu_utilization_percentage": 1.0}, step=4)
        steps = []
        with run.monitor():
            pass
        with monitor_system(lambda values, step: steps.append(step), first=5, seconds=0.01):
            while len(steps) < 2:
                time.sleep(0.01)
    assert steps[:2] == [5, 6]


def test_without_psutil_work_runs_and_nothing_is_logged(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    samples = []
    with monitor_system(lambda values, step: samples.append(values), seconds=0.001):
        time.sleep(0.02)
    assert samples == []
