"""What MLflow holds after `log_result`."""

import sys

import numpy as np
import pandas as pd
import pytest

from reid_eval import evaluate
from reid_eval.figures import cmc_figure
from reid_eval.report import write_report
from reid_eval.tracking import digest, log_result

TABLE = pd.DataFrame({"path": ["a.jpg", "b.jpg"], "pid": [1, 2], "camid": [0, 1]})


@pytest.fixture(scope="module")
def result():
    features, pids, zero = (
        np.random.default_rng(0).normal(size=(12, 4)),
        np.arange(12) // 2,
        np.zeros(12, int),
    )
    return evaluate(features, features, pids, pids, zero, zero + 1, far=(1e-4, 1e-1))


@pytest.fixture(scope="module")
def run(result, tmp_path_factory):
    mlflow = pytest.importorskip("mlflow")
    folder = tmp_path_factory.mktemp("mlflow")
    # Not by set_tracking_uri: it sets the variable for good, and other tests' runs would follow it.
    patch = pytest.MonkeyPatch()
    patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    experiment = mlflow.create_experiment("e", artifact_location=(folder / "artifacts").as_uri())
    report = write_report(folder / "report.html", {"mix": result})
    try:
        with mlflow.start_run(experiment_id=experiment) as active:
            figures = {"cmc": cmc_figure({"mix": result})}
            log_result(
                result, prefix="mix", figures=figures, report=report, dataset=TABLE, dataset_name="toy"
            )
            log_result(result)
        client = mlflow.MlflowClient()
        paths = [
            file.path
            for place in (None, "figures", "figures/mix")
            for file in client.list_artifacts(active.info.run_id, place)
        ]
        yield client.get_run(active.info.run_id), paths
    finally:
        patch.undo()


def test_metrics_are_the_results_own_under_the_prefix(run, result):
    metrics = run[0].data.metrics
    assert metrics["mix/mAP"] == metrics["mAP"] == result.mAP
    assert metrics["mix/rank_1"] == result.cmc[1]
    assert metrics["mix/tar_1e-4"] == result.tar[1e-4]
    assert metrics["mix/num_valid_queries"] == result.num_valid_queries
    assert run[0].data.tags["mix/metric"] == "cosine"


def test_figures_and_the_report_are_artifacts(run):
    assert {"report.html", "figures/mix/cmc.png"} <= set(run[1])


def test_the_data_set_is_an_input_with_its_digest(run):
    (given,) = run[0].inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("toy", digest(TABLE)[:36])
    assert {tag.key: tag.value for tag in given.tags}["mlflow.data.context"] == "evaluation"


def test_the_digest_sees_every_cell_every_name_and_the_order():
    changed = [
        TABLE.assign(pid=[1, 3]),
        TABLE.assign(path=["a.jpg", "c.jpg"]),
        TABLE.rename(columns={"camid": "camera"}),
        TABLE[::-1],
        TABLE[:1],
    ]
    assert len({digest(table) for table in (TABLE, *changed)}) == 6
    assert digest(TABLE.astype({"path": object})) == digest(TABLE)


def test_what_is_wrong_is_named_before_anything_is_logged(result, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="none.html"):
        log_result(result, report=tmp_path / "none.html")
    with pytest.raises(ValueError, match="'../up'"):
        log_result(result, figures={"../up": None})
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ImportError, match="pip install mlflow"):
        log_result(result)
