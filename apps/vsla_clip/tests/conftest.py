from pathlib import Path
from types import SimpleNamespace

import pytest

from reid_core.cli.recipes import parse_config
from vsla_clip.cli import APP, main

TINY = Path(__file__).parents[1] / "configs" / "tiny.yaml"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """One whole run on a tiny synthetic world; other tests read its files and MLflow store, and add runs."""
    runs = tmp_path_factory.mktemp("vsla") / "runs"
    command = ["--config", str(TINY), "--runs", str(runs)]
    assert main(["run", *command, "--traceback"]) == 0
    folder = runs / "vsla_tiny" / "a"
    data = folder / "prepare" / "synthetic" / "mars"

    def config(*options):
        return parse_config(APP, ["run", *command, *options])

    return SimpleNamespace(
        command=command,
        config=config,
        folder=folder,
        runs=runs,
        data=data,
        store=f"sqlite:///{runs}/mlflow.db",
        on_disk=[*command, "--data.synthetic", "null", "--data.root", str(data)],  # without drawing it again
    )
