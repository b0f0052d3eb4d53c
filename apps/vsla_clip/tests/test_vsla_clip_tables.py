"""The paper's tables, each a command with its numbers, on a miniature."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

import reid_eval
from reid_core import data
from reid_core.cli.recipes import parse_config
from reid_core.data.manifest import Manifest
from vsla_clip.cli import APP, main
from vsla_clip.recipe import RECIPE
from vsla_clip.tables import FIGURE_4, TABLES

CONFIGS = Path(__file__).parents[1] / "configs"


def test_the_list_has_a_command_for_each_table_whose_configuration_is_there(capsys):
    assert main(["ablate", "--list"]) == 0
    printed = capsys.readouterr().out
    for table in TABLES.values():
        assert table.command in printed
        words = table.command.split()
        assert words[:3] == ["vsla-clip", "ablate", table.name]
        assert (CONFIGS / Path(words[words.index("--config") + 1]).name).is_file()
    assert [line.split()[-2:] for line in printed.splitlines() if "d = 3, l = 16 " in line] == [
        ["81.29", "74.27"]
    ]


def test_a_figure_s_rows_are_a_grid_of_depth_and_length():
    grid = {(row.overrides["pbp.depth"], row.overrides["pbp.length"]) for row in FIGURE_4.rows}
    depths, lengths = ({pair[axis] for pair in grid} for axis in (0, 1))
    assert len(grid) == len(FIGURE_4.rows) == len(depths) * len(lengths)


def mars(source, root):
    """As it is."""
    shutil.copytree(source, root)


def g2a_vreid(source, root):
    """MARS's layout, in which only the tracklets of the camera on the ground are queries."""
    shutil.copytree(source, root)
    tracks = loadmat(root / "info/tracks_test_info.mat")["track_test_info"]
    queries = loadmat(root / "info/query_IDX.mat")["query_IDX"].reshape(-1)
    ground = [number for number in queries if tracks[number - 1, 3] == 1]
    savemat(root / "info/query_IDX.mat", {"query_IDX": np.array([ground], np.uint16)})


def ls_vid(source, root):
    """Lists of tracklets, and which of the test tracklets are queries."""
    whole, lines, queries = data.read("mars", source), {"train": [], "test": []}, []
    for split in ("train", "query", "gallery"):
        rows = whole.select(split)
        part = "train" if split == "train" else "test"
        for tracklet in rows.tracklets():
            pid, camera = int(rows.pids[tracklet[0]]), int(rows.camids[tracklet[0]])
            number = len(lines[part])
            queries += [number + 1] * (split == "query")
            folder = f"tracklet_{part}/{pid:04}"
            (root / folder).mkdir(parents=True, exist_ok=True)
            for frame, row in enumerate(tracklet):
                name = f"{pid:04}_{number:04}_{camera:02}_{frame:04}.jpg"
                shutil.copy(rows.files[row], root / folder / name)
            lines[part].append(f"{folder}/{pid:04}_{number:04}_ {pid}")
    (root / "list_sequence").mkdir()
    for part, each in lines.items():
        (root / f"list_sequence/list_seq_{part}.txt").write_text("\n".join(each) + "\n")
    (root / "test").mkdir()
    np.save(root / "test/query.npy", np.array(queries))


def ilids_vid(source, root):
    """A folder of frames for each person and camera, and ten divisions of the people."""
    whole = data.read("mars", source)
    people = np.unique(whole.pids[whole.pids > 0]).tolist()
    for pid in people:
        for camera in (1, 2):
            folder = root / f"i-LIDS-VID/sequences/cam{camera}/person{pid:03}"
            folder.mkdir(parents=True)
            rows = np.flatnonzero((whole.pids == pid) & (whole.camids == camera))[:2]
            for frame, row in enumerate(rows):
                shutil.copy(whole.files[row], folder / f"cam{camera}_person{pid:03}_{frame:05}.png")
    places = np.stack([np.random.default_rng(split).permutation(len(people)) + 1 for split in range(10)])
    (root / "train-test people splits").mkdir()
    savemat(root / "train-test people splits/train_test_splits_ilidsvid.mat", {"ls_set": places})


MINIATURES = {"mars": mars, "g2a_vreid": g2a_vreid, "ls_vid": ls_vid, "ilids_vid": ilids_vid}
TRIALS = 2
"""Divisions of iLIDS-VID in the miniature; ten in the configuration."""
SHORT = {
    "clip.small.vision_cfg": {
        "layers": 12,
        "width": 64,
        "head_width": 32,
        "patch_size": 8,
    },  # Fig. 4's depths
    "stage1.train.steps": 1,
    "stage2.train.steps": 1,
    "vpt.length": 2,
}


@pytest.fixture(scope="session")
def ablate(tiny, tmp_path_factory):
    """Runs a table's own command on a miniature of its data set -> its lines and the folder of all runs."""
    runs = tmp_path_factory.mktemp("tables")

    def run(name):
        words = TABLES[name].command.split()
        config = Path(words[words.index("--config") + 1]).stem
        target = parse_config(APP, ["ablate", "--config", str(CONFIGS / f"{config}.yaml")]).data.video.name
        root = runs / "data" / target
        if not root.exists():
            MINIATURES[target](tiny.data, root)
        options = [word for setting, value in SHORT.items() for word in (f"--{setting}", str(value))]
        command = ["ablate", name, *tiny.command, "--runs", str(runs / "runs"), "--name", "t", *options]
        command += ["--data.synthetic", "null", "--data.video.name", target, "--data.root", str(root)]
        command += ["--data.video.platforms", "{}", "--evaluate.protocol", target, "--method", "vsla_clip"]
        assert main([*command, "--traceback"]) == 0
        folder = runs / "runs" / "vsla_tiny"
        with (folder / "t" / "tables" / f"{name}.csv").open(newline="") as file:
            return list(csv.DictReader(file)), folder

    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_each_table_runs_and_has_numbers_of_its_metrics(ablate, monkeypatch, name):
    monkeypatch.setitem(reid_eval.SPLITS, "ilids_vid", TRIALS)
    lines, _ = ablate(name)
    assert len(lines) == len(TABLES[name].rows)
    for line, row in zip(lines, TABLES[name].rows, strict=True):
        for metric, heading in zip(TABLES[name].metrics, TABLES[name].headings, strict=True):
            assert line[heading], f"{row.title} has no {metric}"
            assert line[f"{heading} (paper)"] == row.format_number(metric)


@pytest.mark.slow
def test_ilids_vid_s_numbers_are_means_and_spreads_of_what_reid_eval_says_of_each_division(
    ablate, monkeypatch
):
    monkeypatch.setitem(reid_eval.SPLITS, "ilids_vid", TRIALS)
    lines, runs = ablate("table_2_ilids_vid")
    scores = []
    for trial in range(TRIALS):
        folder = runs / f"{lines[1]['run'].removesuffix('.0')}.{trial}"
        table = Manifest.load(folder / "prepare" / "data.video.parquet")
        sides = []
        for split in ("query", "gallery"):
            rows = table.select(split)
            firsts = [clip[0] for clip in rows.tracklets()]
            array = np.load(folder / "evaluate" / split / "unknown" / "features.npy")
            sides.append((array, rows.pids[firsts], rows.camids[firsts]))
        (query, *asked), (gallery, *there) = sides
        scores.append(
            reid_eval.evaluate(
                query,
                gallery,
                asked[0],
                there[0],
                asked[1],
                there[1],
                protocol=reid_eval.PROTOCOLS["ilids_vid"],
            )
        )
    for metric in ("mAP", "rank_1"):
        values = [100 * score.summary()[metric] for score in scores]
        assert lines[1][metric] == f"{np.mean(values):.1f} ± {np.std(values):.1f}"


def test_ilids_vid_is_divided_ten_times_unless_a_division_is_named():
    config = ["run", "--config", str(CONFIGS / "ilids_vid.yaml")]
    splits = [trial["data.video.options"]["split"] for trial in RECIPE.trials(parse_config(APP, config))]
    assert splits == list(range(10))
    assert RECIPE.trials(parse_config(APP, [*config, "--data.video.options", "{split: 3}"])) == [{}]
