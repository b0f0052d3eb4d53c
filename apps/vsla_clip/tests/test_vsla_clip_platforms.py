"""Four platforms, from a table of one's own: prompts of each, and results from each to each other."""

from __future__ import annotations

import itertools
import json
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file

import reid_eval
from reid_core import data
from vsla_clip.cli import main
from vsla_clip.recipe import check_cameras

PLATFORMS = ("ground", "aerial", "wearable", "ugv")


@pytest.fixture(scope="module")
def four(tiny, tmp_path_factory):
    """A whole run on the tiny world, whose two tracklets of each camera are from two platforms."""
    whole = data.read("mars", tiny.data)
    table = whole.table[whole.table["split"] != "query"].copy()  # MARS's gallery holds the queries
    turn = table.groupby(["pid", "camid"])["tracklet"].transform(lambda ids: pd.factorize(ids, sort=True)[0])
    table["camid"] = 2 * turn + table["camid"] - 1
    table["platform"] = [PLATFORMS[camera] for camera in table["camid"]]
    test = table[table["split"] == "gallery"]
    queries = test.assign(split="query", tracklet=test["tracklet"] + int(table["tracklet"].max()) + 1)
    file = tmp_path_factory.mktemp("four") / "platforms.csv"
    columns = ["path", "pid", "camid", "split", "tracklet", "frame", "platform"]
    pd.concat([table, queries])[columns].to_csv(file, index=False)
    command = [*tiny.command, "--name", "four", "--data.synthetic", "null", "--data.root", str(tiny.data)]
    command += ["--data.video.name", str(file), "--data.video.platforms", "{}"]
    assert main(["run", *command, "--pbp.platforms", str(list(PLATFORMS)), "--traceback"]) == 0
    return tiny.runs / "vsla_tiny" / "four", command


def test_each_platform_has_prompts_of_its_own(four):
    prompts = load_file(four[0] / "stage2" / "adapter" / "adapter.safetensors")
    assert [len(value) for name, value in prompts.items() if name.endswith("pbp.prompts")] == [len(PLATFORMS)]


def test_results_are_of_each_platform_among_the_others_each(four):
    results = json.loads((four[0] / "evaluate" / "results.json").read_text())
    pairs = {f"{one} to {other}" for one, other in itertools.permutations(PLATFORMS, 2)}
    assert set(results) == {"all", *pairs}

    def side(split, platform):
        folder = four[0] / "evaluate" / split / platform
        rows = data.Manifest.load(four[0] / "prepare" / "data.video.parquet").select(split)
        rows = rows.where((rows.table["platform"] == platform).to_numpy(dtype=bool))
        firsts = [clip[0] for clip in rows.tracklets()]
        return np.load(folder / "features.npy"), rows.pids[firsts], rows.camids[firsts]

    for one, other in (("wearable", "aerial"), ("ground", "ugv")):
        (query, pids, camids), (gallery, others, cameras) = side("query", one), side("gallery", other)
        score = reid_eval.evaluate(query, gallery, pids, others, camids, cameras).summary()
        found = results[f"{one} to {other}"]
        assert {name: found[name] for name in ("mAP", "rank_1")} == pytest.approx(
            {name: score[name] for name in ("mAP", "rank_1")}
        )


def test_a_platform_without_prompts_is_named(four, capsys):
    command = [*four[1], "--name", "three", "--pbp.platforms", str(list(PLATFORMS[:3]))]
    assert main(["prepare", *command]) == 1
    assert "has prompts of ground, aerial, wearable, but tracklets are from ugv" in capsys.readouterr().err


def test_a_camera_of_two_platforms_is_refused_before_training(four, tmp_path, capsys):
    source = pd.read_csv(four[1][four[1].index("--data.video.name") + 1])
    source.assign(camid=0).to_csv(tmp_path / "shared.csv", index=False)
    command = [*four[1], "--name", "shared", "--data.video.name", str(tmp_path / "shared.csv")]
    assert main(["prepare", *command, "--method", "vsla_clip", "--evaluate.protocol", "manifest"]) == 1
    said = capsys.readouterr().err
    assert "camera 0 is on aerial and on ground in shared" in said and "evaluate.protocol=g2a_vreid" in said


@pytest.mark.parametrize(
    ("protocol", "camid", "refused"),
    [
        ("mars", 0, True),
        ("manifest", 0, True),
        ("g2a_vreid", 0, False),  # from platform to platform, whatever the camera
        ("briar", 0, False),  # every pair counts
        ("mars", -1, True),
        ("manifest", -1, False),  # an unknown camera is nobody's own
    ],
)
def test_a_camera_of_two_platforms_matters_where_the_protocol_compares_cameras(protocol, camid, refused):
    columns = {"path": ["a", "b"], "pid": 1, "camid": camid, "split": "query", "platform": ["ground", "ugv"]}
    rows = data.Manifest(pd.DataFrame(columns), ".")
    with pytest.raises(ValueError, match=f"camera {camid} is on") if refused else nullcontext():
        check_cameras(protocol, rows)
