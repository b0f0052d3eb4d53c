"""A recipe's data: changed, moved and copied ones, and those of a manifest file."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from reid_core.data import Manifest, read
from reid_core.recipe import Source, run, store
from reid_core.recipe.sources import scan


def test_a_gallery_image_less_redoes_no_training(toy, config):
    toy.run(config)
    next((Path(config.data.root) / "bounding_box_test").glob("*.jpg")).unlink()
    assert toy.run(config) == []
    assert len(list(toy.folders(config, "prepare"))) == len(list(toy.folders(config, "test"))) == 2


def test_another_training_image_redoes_it(toy, config):
    toy.run(config)
    some = next((Path(config.data.root) / "bounding_box_train").glob("*.jpg"))
    some.with_name(f"{some.stem[:-2]}77.jpg").write_bytes(some.read_bytes())
    assert toy.run(config) == ["count", "multiply"]


@pytest.mark.faults
def test_a_moved_data_set_redoes_no_training_and_is_read_where_it_lies_now(toy, config, tmp_path):
    toy.run(config)
    shutil.copytree(config.data.root, tmp_path / "copied")  # other times, other place
    shutil.rmtree(config.data.root)
    moved = replace(config, data=Source("market1501", str(tmp_path / "copied")))
    assert toy.run(moved) == []
    assert toy.run(replace(moved, versions={"count": 2})) == ["count", "multiply"]
    roots = {record["summary"]["root"] for record in map(store.record, toy.folders(config, "count"))}
    assert roots == {"data", "copied"}


@pytest.mark.faults
def test_prepare_says_what_differs_from_the_published_counts(toy, config, capsys):
    found = run(toy.recipe, config)["prepare"]["sources"]["data"]["differs"]
    assert found[0] == "train images 12,936 expected, 8 found"
    assert f"data: differs from the published: {found[0]}; " in capsys.readouterr().err


def test_scan_sees_names_sizes_and_times_at_any_depth_but_no_hidden_file(tmp_path):
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "x").write_text("1")
    seen = [scan(tmp_path)]
    (deep / ".hidden").write_text("1")
    assert scan(tmp_path) == seen[-1]
    for change in (
        lambda: (deep / "y").write_text("1"),
        lambda: (deep / "y").rename(deep / "z"),
        lambda: (deep / "z").write_text("22"),
        lambda: os.utime(deep / "z", ns=(1, 1)),
        lambda: (deep / "z").unlink(),
    ):
        change()
        seen.append(scan(tmp_path))
    assert len(set(seen[:-1])) == len(seen) - 1 and seen[-1] == seen[0]
    (tmp_path / "loop").symlink_to(tmp_path)
    scan(tmp_path)  # ends


@pytest.mark.faults
def test_a_copied_project_reads_its_own_images_and_not_the_old_places(toy, config, tmp_path, monkeypatch):
    old, new = tmp_path / "old", tmp_path / "new"
    shutil.copytree(config.data.root, old / "data")
    read("market1501", old / "data").table.to_csv(old / "data" / "mine.csv", index=False)
    mine = replace(config, runs="runs", data=Source("data/mine.csv"), synthetic=None)
    monkeypatch.chdir(old)
    run(toy.recipe, mine)
    shutil.copytree(old, new, symlinks=True)
    monkeypatch.chdir(new)
    seen = []
    recipe = replace(toy.recipe, check_data=lambda _, rows: seen.append(rows("data", "train").root))
    toy.calls.clear()
    run(recipe, mine)
    assert toy.calls == []  # all of it is done
    assert seen == [new / "data"]


@pytest.mark.faults
def test_a_root_that_only_a_manifest_file_knows_is_said(toy, config, tmp_path, capsys):
    file = read("market1501", config.data.root).save(tmp_path / "mine.parquet")
    for _ in range(2):
        run(toy.recipe, replace(config, data=Source(str(file))))
        assert f"data: images in {config.data.root}, as {file} says" in capsys.readouterr().err


def test_a_manifest_file_is_a_source_and_its_content_decides(toy, config, tmp_path):
    manifest = read("market1501", config.data.root)
    mine = replace(config, data=Source(str(manifest.save(tmp_path / "mine.parquet"))))  # it knows its root
    assert toy.run(mine) == ["count", "multiply"]
    assert toy.run(mine) == []
    fewer = manifest.where(manifest.table["path"] != manifest.select("train").table["path"].iat[0])
    Manifest(fewer.table, fewer.root, fewer.name).save(tmp_path / "mine.parquet")
    assert toy.run(mine) == ["count", "multiply"]
