"""Comparisons by command: a matrix with paired tests, a figure, a page, and MLflow's run."""

from __future__ import annotations

import json

import pytest

from reid_gallery.cli import main


def test_models_are_compared_on_data_sets(tmp_path, people, save_model, capsys) -> None:
    first, second = (save_model(tmp_path / f"model{seed}", seed) for seed in (0, 1))
    out = tmp_path / "out"
    given = ["compare", str(first), str(second), "--data", str(people), f"people:{people}"]
    assert main([*given, "--out", str(out)]) == 1
    assert "two have one name" in capsys.readouterr().err
    assert main([*given[:-1], "--out", str(out)]) == 0
    found = json.loads((out / "comparison.json").read_text())
    one, other = found["cells"]
    assert not one["against_first"] and one["trained"]
    change = other["against_first"]["mAP"]
    assert change["difference"] == pytest.approx(other["mAP"] - one["mAP"]) and 0 <= change["p"] <= 1
    text = (out / "comparison.md").read_text()
    assert f"{100 * other['mAP']:.1f} / {100 * other['rank_1']:.1f}*" in text
    assert (out / "comparison.png").stat().st_size > 1000
    assert "model1 on people" in (out / "comparison.html").read_text()


@pytest.mark.slow
def test_a_comparison_is_logged_to_mlflow(tmp_path, people, save_model) -> None:
    import mlflow

    uri, model = f"sqlite:///{tmp_path}/mlflow.db", save_model(tmp_path / "model", 0)
    given = ["compare", str(model), "--data", str(people), "--out", str(tmp_path / "out")]
    assert main([*given, "--tracking_uri", uri]) == 0
    (run,) = mlflow.MlflowClient(uri).search_runs(
        [mlflow.MlflowClient(uri).get_experiment_by_name("reid-gallery").experiment_id]
    )
    assert 0 < run.data.metrics["model/people/mAP"] <= 1
