"""The paper's ablations on a tiny synthetic world."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import pytest

from cion.cli import main

TINY = Path(__file__).parent / "tiny_run.yaml"


@pytest.fixture(scope="module")
def ablated(tmp_path_factory):
    runs = tmp_path_factory.mktemp("cion") / "runs"
    command = ["ablate", "--config", str(TINY), "--runs", str(runs), "--traceback"]
    assert main([*command, "--tables", "[methods, ratio, tsne]", "--ratios", "[0.75, 1.0]"]) == 0
    return runs, runs / "tiny_run" / "a"


def table(folder: Path, name: str):
    return json.loads((folder / "ablate" / f"{name}.json").read_text())


def test_methods_are_no_pretraining_dino_and_cion(ablated):
    assert list(table(ablated[1], "methods")) == ["none", "dino", "cross_video"]


def test_a_part_of_the_identities_has_its_results_and_time(ablated):
    rows = table(ablated[1], "ratio")
    assert list(rows) == ["0.75", "1"]
    assert rows["0.75"]["images"] < rows["1"]["images"]
    assert all(row["seconds"] > 0 and 0 < row["mAP"] <= 1 for row in rows.values())
    assert rows["1"]["mAP"] == table(ablated[1], "methods")["cross_video"]["mAP"]


def test_tables_and_figures_are_artifacts_of_the_run(ablated):
    runs, folder = ablated
    client = mlflow.MlflowClient(f"sqlite:///{runs}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("tiny_run").experiment_id])
    parent = next(run for run in found if run.info.run_name == "a")
    names = {Path(file.path).name for file in client.list_artifacts(parent.info.run_id, "ablate")}
    assert {"methods.json", "ratio.json", "ratio.png", "tsne.json", "tsne.png"} <= names
    assert (folder / "ablate" / "tsne.png").stat().st_size > 1000


def test_an_unknown_table_names_those_there_are(tmp_path, capsys):
    command = ["ablate", "--config", str(TINY), "--runs", str(tmp_path), "--tables", "[figures]"]
    assert main(command) == 1
    assert "no ablation 'figures'; there are levels, methods, ratio, tsne" in capsys.readouterr().err
