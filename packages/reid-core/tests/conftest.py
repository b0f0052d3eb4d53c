"""A toy recipe, for tests of the recipe layer."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from reid_core.files import write_atomically
from reid_core.recipe import Recipe, RecipeConfig, Source, Sources, Stage, Synthetic, part, run

WORLD = Synthetic(
    {"identities": 4, "cameras": 2, "height": 16, "width": 8},
    {"market1501": {"train_identities": 2, "images_per_camera": 2, "progress": False}},
)


@dataclass
class Config(RecipeConfig):
    experiment: str = "toy"
    data: Source = field(default_factory=lambda: Source("market1501"))
    synthetic: Synthetic | None = field(default_factory=lambda: WORLD)
    factor: int = 2
    fails: bool = False
    versions: dict[str, int] = field(default_factory=dict)


calls: list[str] = []


def count(job):
    calls.append("count")
    rows = job.manifest("data", "train")
    write_atomically(job.folder / "images.txt", "\n".join(rows.table["path"]))
    return {"images": len(rows), "root": rows.root.name}


def multiply(job):
    calls.append("multiply")
    if job.section["fails"]:
        write_atomically(job.folder / "half.txt", "half")
        raise FloatingPointError("the loss is not finite")
    lines = (job.inputs["count"] / "images.txt").read_text().splitlines()
    return {
        "product": len(lines) * job.section["factor"],
        "found": sorted(p.name for p in job.folder.iterdir()),
    }


def stages(config):
    version = config.versions.get
    return [
        sources(config).stage(),
        Stage("count", count, {}, {"prepare": [part("data", "train")]}, version=version("count", 1)),
        Stage(
            "multiply",
            multiply,
            {"factor": config.factor, "fails": config.fails},
            {"count": None},
            version=version("multiply", 1),
        ),
        Stage("test", lambda job: {"x": 1}, {}, {"prepare": [part("data", "gallery")], "multiply": None}),
    ]


def sources(config):
    return Sources({"data": config.data}, "", config.synthetic, {"data": ("train", "query", "gallery")})


TOY = Recipe(
    name="toy",
    module="toy.cli",
    sources=sources,
    stages=stages,
    results=lambda summaries: {"product": summaries["multiply"]["product"]},
)


def run_toy(config):
    """Run the recipe -> the stages that had to be done."""
    calls.clear()
    run(TOY, config)
    return list(calls)


def find_folders(config, name):
    folder = Path(config.runs) / "stages"
    return sorted(
        path for path in folder.glob(f"*{name}-*") if path.is_dir() and ".replaced-" not in path.name
    )


@pytest.fixture()
def toy():
    """The recipe and its parts, the work of its stages that was called, and where their folders lie."""
    return SimpleNamespace(
        recipe=TOY, sources=sources, stages=stages, calls=calls, run=run_toy, folders=find_folders
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The synthetic world on disk, once."""
    from reid_core.recipe.sources import write_world

    folder = tmp_path_factory.mktemp("world")
    write_world(WORLD, folder, 1)
    return folder / "market1501"


@pytest.fixture()
def config(tmp_path, world):
    """The recipe's configuration over a copy of the world."""
    calls.clear()
    data = Path(shutil.copytree(world, tmp_path / "data"))
    nobody = "http://127.0.0.1:9"  # events stay in the run folder, and no test waits for MLflow
    return Config(
        runs=str(tmp_path / "runs"),
        tracking_uri=nobody,
        data=Source("market1501", str(data)),
        synthetic=None,
    )
