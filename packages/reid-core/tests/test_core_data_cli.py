"""`reid-data`: counts beside the published ones, and what a check finds."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from reid_core.cli.data import main
from reid_core.data.checks import BLOCK, check
from reid_core.data.counts import count, differences
from reid_core.data.manifest import Manifest
from reid_core.data.readers import COUNTS, READERS

PKU = Path(os.environ.get("REID_PKU_ROOT", Path(__file__).parents[4] / "shared" / "data" / "pku-reid"))
DOCS = Path(__file__).parents[3] / "docs" / "datasets.md"
NAMES = {
    "bounding_box_train": ["0002_c1s1_000451_03.jpg", "0002_c2s1_000452_03.jpg"],
    "query": ["0001_c3s2_001234_00.jpg"],
    "bounding_box_test": ["-1_c6s4_000001_01.jpg", "0000_c6s4_000001_02.jpg", "0001_c6s4_000001_03.jpg"],
}


@pytest.fixture
def market(tmp_path):
    """A miniature with nothing wrong: each image has a color of its own."""
    for folder, names in NAMES.items():
        (tmp_path / folder).mkdir()
        for name in names:
            color = tuple(hashlib.sha256(name.encode()).digest()[:3])
            Image.new("RGB", (4, 8), color).save(tmp_path / folder / name)
    return tmp_path


def test_stats_print_counts_and_what_differs_from_the_published(market, capsys):
    assert main(["stats", "market1501", "--root", str(market)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "market1501: 6 images, 2 identities, 4 cameras, 0 tracklets"
    assert lines[1] == "  train: 2 images, 1 identities, 2 cameras, 0 tracklets"
    assert lines[-1].startswith(
        "differs from the published: train images 12,936 expected, 2 found; train ident"
    )


def test_stats_and_check_say_what_is_missing_for_training_and_evaluation(market, capsys):
    (market / "bounding_box_test" / NAMES["bounding_box_test"][2]).unlink()
    for command in ("stats", "check"):
        main([command, "market1501", "--root", str(market)])
        lines = capsys.readouterr().out.splitlines()
        assert "training: 1 people are in train; expected 2 or more" in lines
        assert "evaluation: 1 of 1 query images: the gallery has no image of the person" in lines


def test_a_table_is_a_source_and_never_differs_from_the_published(market, capsys, tmp_path):
    table = tmp_path / "market1501.csv"
    table.write_text("path,pid,camid\nquery/0001_c3s2_001234_00.jpg,1,3\n")
    options = ["--root", str(market), "--options.fraction", "1"]
    assert main(["stats", str(table), *options]) == 0
    out = capsys.readouterr().out
    assert out.startswith("market1501.csv: 1 images, 1 identities") and "published" not in out
    assert "training: 1 people are in train" in out and "evaluation: no image is in the split query" in out
    assert main(["check", str(table), *options]) == 0
    assert main(["convert", str(table), str(tmp_path / "own.parquet"), *options]) == 0
    assert Manifest.load(tmp_path / "own.parquet").root == market


def test_counts_as_published_differ_in_nothing(monkeypatch):
    rows = pd.DataFrame({"path": list("abc"), "split": "train", "pid": [1, 1, 2]})
    toy = Manifest(rows, "/data", "toy")
    assert differences(toy) is None
    monkeypatch.setitem(COUNTS, "toy", {"all": {"images": 3}, "train": {"identities": 2}})
    assert differences(toy) == []
    monkeypatch.setitem(COUNTS, "toy", {"query": {"images": 1}})
    assert differences(toy) == ["query images 1 expected, 0 found"]


def test_an_image_of_two_splits_counts_once_in_all():
    rows = pd.DataFrame({"path": ["a", "b", "b"], "split": ["train", "query", "gallery"], "pid": [1, 2, 2]})
    counted = count(Manifest(rows, "/data"))
    assert counted["all"]["images"] == 2 and counted["query"]["images"] == counted["gallery"]["images"] == 1


@pytest.mark.skipif(not PKU.is_dir(), reason="PKU-Reid is not here: set REID_PKU_ROOT to its folder")
def test_pku_reid_is_as_published(capsys):
    assert main(["stats", "pku_reid", "--root", str(PKU)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("pku_reid: 992 images, 62 identities, 2 cameras")
    assert lines[-1] == "as published"


def test_check_finds_nothing_where_nothing_is_wrong(market, capsys):
    assert main(["check", "market1501", "--root", str(market)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "6 images read: nothing wrong"


def test_check_names_each_kind_of_fault_and_ends_with_status_1(market, capsys, tmp_path):
    (market / "bounding_box_train" / NAMES["bounding_box_train"][0]).write_bytes(b"no image")
    Image.new("RGB", (4, 8), "white").save(market / "query" / "0009_c3s2_001234_00.jpg")
    copy = (market / "query" / NAMES["query"][0]).read_bytes()
    (market / "bounding_box_test" / "0007_c1s1_000001_00.jpg").write_bytes(copy)
    command = ["check", "market1501", "--root", str(market)]
    assert main([*command, "--report", str(tmp_path / "out" / "report.json")]) == 1
    out = capsys.readouterr().out
    assert "unreadable images: 1\n  bounding_box_train/0002_c1s1_000451_03.jpg: " in out
    assert "same bytes: 1\n  query/0001_c3s2_001234_00.jpg = bounding_box_test/0007_c1s1_000001_00.jpg" in out
    assert "identities of one camera: 2\n  pid 7\n  pid 9\n" in out
    assert "query identities missing from the gallery: 1\n  pid 9\n" in out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (
        report["gaps"]["training"]
        and report["images"] == 8
        and report["one_camera"] == [7, 9]
        and report["missing"] == [9]
    )
    ignored = '["unreadable", "duplicates", "one_camera", "missing"]'
    assert main([*command, "--ignore", ignored]) == 0
    assert main([*command, "--ignore", '["missing"]']) == 1


@pytest.fixture
def many(tmp_path):
    """More images than two blocks hold, three of them missing, two alike."""
    numbers = range(2 * BLOCK + 9)
    for number in numbers:
        pixel = np.full((1, 1, 3), (number // 256, number % 256, 7), dtype=np.uint8)
        Image.fromarray(pixel).save(tmp_path / f"{number:04}.png")
    (tmp_path / "0520.png").write_bytes((tmp_path / "0001.png").read_bytes())
    for number in (0, 300, 515):
        (tmp_path / f"{number:04}.png").unlink()
    table = pd.DataFrame({"path": [f"{number:04}.png" for number in numbers], "split": "train"})
    return Manifest(table, tmp_path)


@pytest.mark.faults
def test_a_check_that_was_cut_off_goes_on_to_the_same_findings(many, tmp_path, monkeypatch):
    whole = check(many, progress=False)
    assert list(whole.unreachable) == ["0000.png", "0300.png", "0515.png"]
    assert whole.duplicates == [["0001.png", "0520.png"]]
    record = tmp_path / "state" / "record"
    assert check(many, workers=1, resume=record, progress=False) == whole
    kept = record.read_bytes()
    record.write_bytes(kept[: 64 + 16 * 301 + 5])  # in the midst of a digest
    read = []
    import reid_core.data.checks as module

    real = module.read_intact
    monkeypatch.setattr(module, "read_intact", lambda *image: read.append(image) or real(*image))
    resumed = check(many, resume=record, progress=False)
    assert resumed == whole and record.read_bytes() == kept
    assert len(read) == len(many) - 301 + 2  # and the two unreachable ones before, which may be back
    with pytest.raises(ValueError, match="record: belongs to the check of another manifest"):
        check(many.where(many.pids < 0).select("train").where(np.arange(len(many)) > 0), resume=record)


def test_convert_saves_what_the_other_commands_take(market, capsys, tmp_path):
    output = tmp_path / "deep" / "market.parquet"
    assert main(["convert", "market1501", str(output), "--root", str(market)]) == 0
    assert Manifest.load(output).digest == READERS["market1501"](market).digest
    capsys.readouterr()
    assert main(["stats", str(output)]) == 0
    assert capsys.readouterr().out.startswith("market1501: 6 images")
    assert main(["check", str(output)]) == 0


def test_reader_options_are_given_by_name(tmp_path, capsys):
    for camera in ("cam_a", "cam_b"):
        (tmp_path / camera).mkdir()
        for person in range(4):
            (tmp_path / camera / f"{person:03}_0.bmp").touch()
    outputs = [tmp_path / f"{split}.parquet" for split in range(10)]
    for split, output in enumerate(outputs):
        options = ["--root", str(tmp_path), "--options.split", str(split)]
        assert main(["convert", "viper", str(output), *options]) == 0
    assert len({Manifest.load(output).digest for output in outputs}) > 1


def test_list_names_every_reader_and_its_options(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == [*READERS, "FILE.csv"]
    assert any("options: protocol = 'cloth_changing', val = False" in line for line in lines)


@pytest.mark.skipif(not DOCS.is_file(), reason="the repository's docs are not here")
def test_the_docs_have_a_row_a_reader():
    named = {line.split("|")[1].strip() for line in DOCS.read_text().splitlines() if line.startswith("| ")}
    assert set(READERS) <= named


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stats", "market1501"], "give the data set's folder with --root"),
        (["stats", "market1501", "--root", "nowhere"], "there is no folder nowhere"),
        (["check", "cuhk", "--root", "."], "no reader for 'cuhk'"),
        (["convert", "dukemtmc", "x.parquet", "--root", "."], "withdrawn by its authors"),
        (["stats", "none.parquet"], "none.parquet"),
    ],
)
def test_errors_are_one_line_and_status_1(arguments, message, capsys):
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("reid-data: ") and message in error and error.count("\n") == 1
