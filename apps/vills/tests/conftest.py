from pathlib import Path
from types import SimpleNamespace

import pytest

from vills.cli import main

TINY = Path(__file__).parent / "tiny.yaml"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """One whole run on a tiny synthetic world; other tests read its files and MLflow store, and add runs."""
    runs = tmp_path_factory.mktemp("vills") / "runs"
    command = ["--config", str(TINY), "--runs", str(runs)]
    assert main(["run", *command, "--traceback"]) == 0
    folder = runs / "tiny" / "a"
    data = folder / "prepare" / "synthetic"
    roots = ["--data.synthetic", "null", "--data.image.root", str(data / "market1501")]
    roots += ["--data.video.root", str(data / "mars")]
    roots += ["--data.pretrain", f"[{{name: folder, root: {data / 'folder'}}}]"]
    return SimpleNamespace(
        command=command,
        folder=folder,
        runs=runs,
        data=data,
        store=f"sqlite:///{runs}/mlflow.db",
        on_disk=[*command, *roots],  # the same data by its roots, without writing the world again
    )
