from pathlib import Path
from types import SimpleNamespace

import pytest

from cion.cli import APP, UNSUPERVISED_APP, main
from cion.pretraining.recipe import RECIPE
from cion.unsupervised.recipe import RECIPE as UNSUPERVISED_RECIPE
from reid_core.cli.recipes import parse_config
from reid_core.recipe import Job

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """One whole run of pre-training on a tiny synthetic world; other tests read its files, and add runs."""
    return whole_run(tmp_path_factory, [], "tiny", APP, RECIPE)


@pytest.fixture(scope="session")
def usl(tmp_path_factory):
    """One whole run of unsupervised learning, likewise."""
    return whole_run(tmp_path_factory, ["unsupervised"], "tiny_usl", UNSUPERVISED_APP, UNSUPERVISED_RECIPE)


def whole_run(factory, app_name, stem, app, recipe):
    runs = factory.mktemp("cion") / "runs"
    command = ["--config", str(CONFIGS / f"{stem}.yaml"), "--runs", str(runs)]
    assert main([*app_name, "run", *command, "--traceback"]) == 0
    folder = runs / f"cion_{stem}" / "a"

    def config(*options):
        return parse_config(app, ["run", *command, *options])

    def job(stage, chosen, out, kind=Job):
        """What a stage of a configuration gets, over the run's files; it writes to another folder."""
        one = next(one for one in recipe.stages(chosen) if one.name == stage)
        inputs = {name: folder / name for name in (*one.reads, "prepare")}
        roots = recipe.sources(chosen).roots(folder / "prepare")
        return kind(
            section=one.section,
            inputs=inputs,
            files=one.files,
            folder=out,
            digest="",
            runtime=chosen.runtime,
            logger=None,
            roots=roots,
            parts=one.reads,
        )

    return SimpleNamespace(
        command=command,
        config=config,
        job=job,
        folder=folder,
        runs=runs,
        data=folder / "prepare" / "synthetic",
        store=f"sqlite:///{runs}/mlflow.db",
    )
