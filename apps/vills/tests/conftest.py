from pathlib import Path
from types import SimpleNamespace

import pytest

from reid_core.cli.recipes import parse_config
from reid_core.recipe import Job
from vills.cli import APP, main
from vills.recipe import RECIPE

TINY = Path(__file__).parents[1] / "configs" / "tiny.yaml"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """One whole run on a tiny synthetic world; other tests read its files and MLflow store, and add runs."""
    runs = tmp_path_factory.mktemp("vills") / "runs"
    command = ["--config", str(TINY), "--runs", str(runs)]
    assert main(["run", *command, "--traceback"]) == 0
    folder = runs / "vills_tiny" / "a"
    data = folder / "prepare" / "synthetic"
    roots = ["--data.synthetic", "null", "--data.image.root", str(data / "market1501")]
    roots += ["--data.video.root", str(data / "mars")]
    roots += ["--data.pretrain", f"[{{name: folder, root: {data / 'folder'}}}]"]

    def config(*options, on_disk=False):
        return parse_config(APP, ["run", *command, *(roots if on_disk else []), *options])

    def job(stage, chosen, prepared=folder / "prepare"):
        """What a stage of a configuration gets, over the run's files."""
        one = next(one for one in RECIPE.stages(chosen) if one.name == stage)
        inputs = {name: folder / name for name in one.reads} | {"prepare": prepared}
        roots = RECIPE.sources(chosen).roots(prepared)
        return Job(
            section=one.section,
            inputs=inputs,
            files=one.files,
            folder=folder,
            digest="",
            runtime=chosen.runtime,
            logger=None,
            roots=roots,
            parts=one.reads,
            watched=one.watched,
        )

    return SimpleNamespace(
        command=command,
        config=config,
        job=job,
        folder=folder,
        runs=runs,
        data=data,
        store=f"sqlite:///{runs}/mlflow.db",
        on_disk=[*command, *roots],  # the same data by its roots, without writing the world again
    )
