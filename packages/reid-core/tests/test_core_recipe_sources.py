"""Several layouts of one synthetic world as sources, and stages whose work all processes share."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from reid_core.data import digests
from reid_core.data.manifest import Manifest
from reid_core.data.readers import read
from reid_core.recipe import Row, Source, Sources, Synthetic, Table
from reid_core.recipe.rows import load_rows
from reid_core.recipe.sources import name_platforms, prepare, write_world
from reid_core.recipe.tables import Found, write

WORLD = Synthetic(
    {"identities": 7, "cameras": 2, "height": 16, "width": 8},
    {
        "labelled": {"layout": "market1501", "identities": 4, "train_identities": 2, "progress": False},
        "passers": {"layout": "folder", "identities": [4, 7], "frames": 2, "progress": False},
        "folder": {"identities": 2, "frames": 2, "progress": False},
    },
)
SOURCES = Sources(
    {"data.a": Source("labelled"), "data.b": Source("passers"), "data.c": Source("folder", "elsewhere")},
    synthetic=WORLD,
)


def test_a_layouts_name_is_free_and_its_people_are_those_asked_for(tmp_path):
    write_world(WORLD, tmp_path, 1)
    labelled = read("market1501", tmp_path / "labelled")
    assert set(labelled.pids[labelled.pids > 0]) == {1, 2, 3, 4}  # pid = number + 1
    for name, people in (("passers", {4, 5, 6}), ("folder", {0, 1})):
        assert set(pd.read_parquet(tmp_path / name / "truth.parquet")["identity"]) == people
        assert len(read("folder", tmp_path / name).tracklets()) == len(people) * 2 * 2


def test_a_source_reads_the_layout_of_its_name_unless_it_has_a_root(tmp_path):
    assert [SOURCES.reader(name) for name in SOURCES.by_name] == ["market1501", "folder", "folder"]
    roots = SOURCES.roots(tmp_path)
    assert roots["data.a"] == tmp_path / "synthetic" / "labelled"
    assert str(roots["data.c"]) == "elsewhere"
    assert list(SOURCES.stage().watched) == ["data.c"]


@pytest.mark.parametrize(
    ("layouts", "message"),
    [
        ({"videos": {}}, "no writer for 'videos'"),
        ({"videos": {"layout": "mars", "identities": [0, 4]}}, "mars takes a number of people"),
    ],
)
def test_a_layout_that_cannot_be_written_is_refused_before_any_work(layouts, message):
    with pytest.raises(ValueError, match=message):
        replace(SOURCES, synthetic=Synthetic({}, layouts)).check()


def test_a_source_of_one_split_has_its_files_looked_at_once(tmp_path, monkeypatch):
    table = pd.DataFrame({"path": ["a.jpg", "b.jpg"], "split": "unlabeled"})
    Manifest(table, tmp_path).save(tmp_path / "rows.parquet")
    sources = Sources({"data.a": Source(str(tmp_path / "rows.parquet"))})
    looked = []
    monkeypatch.setattr(digests, "_size", lambda path: looked.append(path) or 1)
    stage = sources.stage()
    job = SimpleNamespace(
        section=stage.section, files=stage.files, folder=tmp_path / "out", roots=sources.roots(tmp_path)
    )
    found = prepare(job)["parts"]
    assert sorted(looked) == [f"{tmp_path}/a.jpg", f"{tmp_path}/b.jpg"]
    assert found["data.a/*"] == found["data.a/unlabeled"]


@pytest.mark.parametrize("root", ["data", "{}/data"], ids=["relative", "absolute"])
def test_images_are_where_the_reader_found_them_below_the_root(tmp_path, monkeypatch, root):
    file = tmp_path / "data" / "SYNTH-PEDES" / "Part1" / "7" / "1.jpg"
    file.parent.mkdir(parents=True)
    file.touch()
    listed = [{"id": 7, "file_path": "Part1/7/1.jpg"}]
    (tmp_path / "data" / "SYNTH-PEDES" / "synthpedes_dataset.json").write_text(json.dumps(listed))
    monkeypatch.chdir(tmp_path)
    sources = Sources({"data.a": Source("synth_pedes", root.format(tmp_path))})
    stage, roots = sources.stage(), sources.roots(tmp_path)
    (tmp_path / "out").mkdir()
    prepare(SimpleNamespace(section=stage.section, files=stage.files, folder=tmp_path / "out", roots=roots))
    assert load_rows(tmp_path / "out", "data.a", roots["data.a"]).files == [file]


def test_platforms_are_named_by_camera_and_each_camera_has_one(tmp_path):
    write_world(WORLD, tmp_path, 1)
    manifest = read("market1501", tmp_path / "labelled")
    named = name_platforms("data.a", manifest, {1: "ground", 2: "aerial"}).table
    assert set(zip(named["camid"], named["platform"], strict=True)) == {(1, "ground"), (2, "aerial")}
    with pytest.raises(ValueError, match=r"data.a.platforms names none of camera 2"):
        name_platforms("data.a", manifest, {1: "ground"})


def test_a_metric_with_a_unit_of_its_own_is_shown_in_it(tmp_path):
    units = {"minutes": "min", "size": "M"}
    table = Table("t", "Tab. 1", [Row("all")], ["mAP", "minutes", "size"], units=units)
    write(table, [Found(table.rows[0], "run", {"mAP": 25.0, "minutes": 3.0, "size": 1.5})], tmp_path)
    header, line = (tmp_path / "t.csv").read_text().splitlines()
    assert header.startswith(",mAP,mAP (paper),minutes (min),") and line == "all,25.0,,3.0,,1.5,,run"


RANK = """
import sys, time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
from reid_core.processes import Runtime, process_rank, wait_for_all
from reid_core.recipe import extract_features

folder = Path(sys.argv[1])
if process_rank() == 1:
    time.sleep(1)
    (folder / "came").write_text("")
wait_for_all()
assert (folder / "came").exists()
items = [{"image": torch.full((1, 1, 2), float(row)), "valid": row != 3} for row in range(5)]
runtime = Runtime(accelerator="cpu", devices=2)
logger = SimpleNamespace(metrics=lambda values, step: None)
job = SimpleNamespace(runtime=runtime, digest="d", folder=folder, logger=logger)
features, rows, valid = extract_features(job, nn.Flatten(), items, folder / "f.npy")
assert features[:, 0].tolist() == [0, 1, 2, 0, 4] and valid.tolist() == [True, True, True, False, True]
"""


def test_each_process_extracts_a_share_and_all_get_the_whole_in_order(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(tmp_path)], env={**shared, "RANK": rank, "LOCAL_RANK": rank}
        )
        for rank in ("0", "1")
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    assert [len(np.load(tmp_path / f"f.{rank}of2.npy")) for rank in (0, 1)] == [3, 2]


def test_alone_a_process_extracts_straight_to_the_file(tmp_path):
    import torch
    from torch import nn

    from reid_core.processes import Runtime
    from reid_core.recipe import extract_features

    logged = {}
    logger = SimpleNamespace(metrics=lambda values, step: logged.update(values))
    runtime = Runtime(accelerator="cpu")
    job = SimpleNamespace(runtime=runtime, digest="d", folder=tmp_path, logger=logger)
    items = [{"image": torch.full((1, 1, 2), float(row))} for row in range(3)]
    features, _, valid = extract_features(job, nn.Flatten(), items, tmp_path / "f.npy")
    assert features[:, 0].tolist() == [0, 1, 2] and valid.all()
    assert {path.name for path in tmp_path.glob("*.npy")} == {"f.npy", "f.valid.npy"}
    assert logged["f/images_per_second"] > 0
