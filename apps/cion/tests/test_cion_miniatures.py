"""Each table's own command, as `cion ablate --list` prints it, on data sets and models in miniature."""

from __future__ import annotations

import csv
import json
import os
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import save_file

from cion.cli import main
from cion.pretraining import tables
from cion.unsupervised import tables as unsupervised_tables
from reid_core.data.manifest import Manifest
from reid_core.data.readers import read
from reid_core.models import load
from reid_core.models.backbones import build_backbone
from reid_eval import evaluate, find_protocol

SMALL = {
    **{"resnet50_ibn": "resnet18_ibn", "resnet50": "resnet18", "vit_small": "vit_tiny"},
    **{name: name for name in ("resnet18_ibn", "resnet18", "vit_tiny", "ghostnet_0_5")},
}
"""Model of a row -> the one in its place; rows of others are left out: all 32 have a test of their own."""
TINY = "test_resnet"
"""The model of tables whose rows name none, and of those that only take the time."""
PLAIN = {"train.epochs": 0.5, "train.warmup_epochs": 0, "identities": 4, "instances": 2}
RUNTIME = {"accelerator": "cpu", "devices": 1, "strategy": "auto", "threads": 1, "workers": 0}
COMMON = ["--runtime", json.dumps(RUNTIME)]
PRETRAINING = [
    *("--model.backbone", TINY, "--model.image_size", "[64, 32]", "--data.further_targets", "[]"),
    *("--extractor.model", "{backbone: vit_nano_patch8, image_size: [32, 16]}"),
    *("--pretrain.batch", "2", "--pretrain.curriculum", "{0: 2}", "--pretrain.local_views", "1"),
    *("--pretrain.local_size", "[32, 32]", "--pretrain.train.epochs", "1", "--pretrain.drop_path", "0"),
    *("--pretrain.train.warmup_epochs", "0", "--pretrain.freeze_prototypes_epochs", "0"),
    *("--pretrain.objective", "{prototypes: 32, head_hidden: 16, head_bottleneck: 8}"),
    *("--denoise", "{consistency: 0.9, discrimination: 0.01}"),  # an extractor that has learned nothing
    *("--finetune.changes", json.dumps(PLAIN | {"image_size": [96, 32], "train.cosine_start_epochs": 0})),
]
ROUNDS = {
    "clusters.rounds": 1,
    "clusters.colour_rounds": 1,
    "clusters.k1": 6,
    "clusters.k2": 2,
    "clusters.min_samples": 2,
}
UNSUPERVISED = [
    *(
        "--changes",
        json.dumps(ROUNDS | {"train.steps": 2, "model.image_size": [64, 32]}),
    ),
    *("--supervised.changes", json.dumps(PLAIN)),
]


@pytest.fixture(scope="session")
def miniatures(tiny, tmp_path_factory):
    """Folders with the names that the commands have: data sets and weights of the models."""
    root = tmp_path_factory.mktemp("miniatures")
    shutil.copytree(tiny.data / "target", root / "MARKET")
    write_msmt17(read("market1501", root / "MARKET"), root / "MSMT17" / "MSMT17_V1")
    videos = read("folder", tiny.data / "videos")
    who = pd.read_parquet(tiny.data / "videos" / "truth.parquet").set_index("path")["identity"]
    tracks = pd.factorize(videos.table["path"].str.rpartition("/")[0])[0]
    people = who.loc[videos.table["path"]].to_numpy()
    for name, file, ids in (
        ("SYNTH_PEDES", "synthpedes_dataset.json", tracks),
        ("CION_AL", "cional_annos.json", people),
    ):
        shutil.copytree(tiny.data / "videos", root / name, ignore=shutil.ignore_patterns("*.parquet"))
        entries = [
            {"id": int(one) + 1, "file_path": path}
            for one, path in zip(ids, videos.table["path"], strict=True)
        ]
        (root / name / file).write_text(json.dumps(entries))
    save_weights("vit_nano_patch8", (32, 16), root / "VIT_B.pth")
    for folder in ("IMAGENET", "REIDZOO", "LUP", "LUP_NL"):
        for backbone in {TINY, *SMALL.values()}:
            save_weights(
                backbone, (64, 64) if folder == "IMAGENET" else (128, 64), root / folder / f"{backbone}.pth"
            )
    os.symlink(Path(__file__).parents[3] / "apps", root / "apps")
    return root


@pytest.fixture(autouse=True)
def sweep(tiny):
    """Remove what nobody reads of trainings that are done: gigabytes for all tables."""
    yield
    for pattern in ("stages/*/last.ckpt", "stages/*/final.pt", "mlartifacts/**/*.safetensors"):
        for file in tiny.runs.glob(pattern):
            file.unlink()


def save_weights(backbone: str, size: tuple[int, int], path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    trunk = build_backbone(backbone, size).trunk
    save_file({name: value.clone() for name, value in trunk.state_dict().items()}, path)


def write_msmt17(market: Manifest, root: Path) -> None:
    """The same images under MSMT17's names and in its lists."""
    labels: dict[str, dict[int, int]] = {"train": {}, "test": {}}
    lines: dict[str, list[str]] = {name: [] for name in ("train", "val", "query", "gallery")}
    for number, (file, row) in enumerate(zip(market.files, market.table.itertuples(), strict=True)):
        if row.pid < 1:
            continue
        half = "train" if row.split == "train" else "test"
        label = labels[half].setdefault(row.pid, len(labels[half]))
        name = f"{label:04}/{label:04}_{number:03}_{row.camid:02}_0303morning_{number:04}_0.jpg"
        lines[row.split].append(f"{name} {label}")
        target = root / half / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    lines["val"].append(lines["train"].pop())
    for name, found in lines.items():
        (root / f"list_{name}.txt").write_text("\n".join(found) + "\n")


def read_table(runs: Path, name: str) -> list[dict[str, str]]:
    (file,) = runs.glob(f"*/mini/tables/{name}.csv")
    with open(file) as stream:
        return list(csv.DictReader(stream))


def few_rows(table):
    rows = []
    for row in table.rows:
        backbone = row.overrides.get("model.backbone")
        if backbone in SMALL:
            small = TINY if table.until == "pretrain" else SMALL[backbone]
            row = replace(row, overrides={**row.overrides, "model.backbone": small})
        if backbone is None or backbone in SMALL:
            rows.append(row)
    return replace(table, rows=rows)


@pytest.mark.slow
@pytest.mark.parametrize("name", tables.TABLES)
def test_a_tables_command_runs_on_miniatures(name, miniatures, tiny, monkeypatch):
    table = few_rows(tables.TABLES[name])
    monkeypatch.setitem(tables.TABLES, name, table)
    monkeypatch.chdir(miniatures)
    _, *command = shlex.split(table.command)
    more = [] if name.startswith(("ratio", "minutes")) else ["--data.images", "20"]
    if command[0] == "tsne":
        more += ["--model.backbone", "resnet18_ibn", "--finetune.recipe", "released"]
    elif all(row.overrides.get("model.backbone", TINY) == TINY for row in table.rows):
        more += ["--model.options", "{output_stride: 16}"]  # MGN's last stage halves nothing
    elif name.startswith("models"):
        more += ["--finetune.recipe", "released"]
    run = [*command, *COMMON, *PRETRAINING, *more, "--runs", str(tiny.runs), "--name", "mini"]
    assert main(run) == 0
    if command[0] == "tsne":
        return
    rows = read_table(tiny.runs, name)
    assert [row[""] for row in rows] == [row.title for row in table.rows]
    for row in rows:
        scores = {metric: float(row[metric]) for metric in table.metrics if metric in row}
        assert all(0 <= value <= 100 for metric, value in scores.items() if metric != tables.GAIN)


@pytest.mark.slow
@pytest.mark.parametrize("name", unsupervised_tables.TABLES)
def test_a_command_without_labels_runs_on_miniatures(name, miniatures, tiny, monkeypatch):
    table = few_rows(unsupervised_tables.TABLES[name])
    monkeypatch.setitem(unsupervised_tables.TABLES, name, table)
    monkeypatch.chdir(miniatures)
    _, *command = shlex.split(table.command)
    changes = UNSUPERVISED if "--data.source.name" in command else UNSUPERVISED[:2]
    assert main([*command, *COMMON, *changes, "--runs", str(tiny.runs), "--name", "mini"]) == 0
    rows = read_table(tiny.runs, name)
    assert [row[""] for row in rows] == [row.title for row in table.rows]
    assert all(0 < float(row["mAP"]) <= 100 for row in rows)


@pytest.mark.slow
def test_a_tables_numbers_are_those_of_reid_eval_called_directly(miniatures, tiny, monkeypatch):
    test_a_tables_command_runs_on_miniatures("methods", miniatures, tiny, monkeypatch)
    market = read("market1501", miniatures / "MARKET")
    query, gallery = market.select("query"), market.select("gallery")
    for row, variant in zip(read_table(tiny.runs, "methods"), ("none", "dino", "cross_video"), strict=True):
        (model,) = tiny.runs.glob(f"*/mini.methods.*/finetune/{variant}/model")
        embedder = load(model)
        found = evaluate(
            embedder.embed(query, device="cpu"),
            embedder.embed(gallery, device="cpu"),
            *(query.pids, gallery.pids, query.camids, gallery.camids),
            protocol=find_protocol("market1501"),
        )
        assert float(row["mAP"]) == pytest.approx(100 * found.mAP, abs=0.051)  # tables have one decimal
        assert float(row["rank_1"]) == pytest.approx(100 * found.cmc[1], abs=0.051)
