"""Folders of runs and stages: links, records, what status and gc make of them, and damaged ones."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from reid_core.cli import housekeeping
from reid_core.recipe import StageError, run, store
from reid_core.recipe.lease import hold


@pytest.mark.faults
def test_the_tracking_servers_password_is_in_no_file_of_a_run(toy, config, monkeypatch):
    monkeypatch.setattr("reid_core.tracking.journal.LAST_TRY_SECONDS", 0.1)
    run(toy.recipe, replace(config, tracking_uri="http://me:swordfish@127.0.0.1:9"))
    written = b"".join(path.read_bytes() for path in Path(config.runs).rglob("*") if path.is_file())
    assert b"http://me:***@127.0.0.1:9" in written and b"swordfish" not in written


@pytest.mark.faults
def test_files_of_something_else_are_not_taken_for_a_stages(toy, config):
    toy.run(config)
    [folder] = toy.folders(config, "multiply")
    (folder / "started.json").unlink()
    (folder / "stage.json").unlink()
    (folder / "mine.txt").write_text("x")
    with pytest.raises(StageError, match="no stage made it"):
        run(toy.recipe, config)
    assert (folder / "mine.txt").exists()


@pytest.mark.faults
def test_a_damaged_record_is_named(toy, config):
    toy.run(config)
    [folder] = toy.folders(config, "multiply")
    (folder / "stage.json").write_text("{")
    with pytest.raises(StageError, match="stage.json is damaged"):
        run(toy.recipe, config)


def test_a_run_folder_links_to_its_stages_and_moves_with_its_runs(toy, config, tmp_path):
    toy.run(config)
    link = config.folder / "multiply"
    assert link.is_symlink() and not os.path.isabs(os.readlink(link))
    Path(config.runs).rename(tmp_path / "elsewhere")
    assert toy.run(replace(config, runs=str(tmp_path / "elsewhere"))) == []


def test_where_links_fail_a_text_file_points_to_the_stage(toy, config, monkeypatch):
    def refuse(self, target, target_is_directory=False):
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    toy.run(config)
    assert (config.folder / "multiply.pointer").read_text().startswith("../../stages/toy-multiply-")
    assert {name for _, name, _ in store.links(Path(config.runs))} == {"prepare", "count", "multiply", "test"}


def test_gc_removes_what_no_run_refers_to_and_nothing_else(toy, config, capsys):
    toy.run(config)
    toy.run(replace(config, factor=3))
    housekeeping.gc(SimpleNamespace(runs=config.runs, yes=False))
    assert "--yes removes them" in capsys.readouterr().out
    assert len(list(toy.folders(config, "multiply"))) == 2
    housekeeping.gc(SimpleNamespace(runs=config.runs, yes=True))
    assert len(list(toy.folders(config, "multiply"))) == 1
    assert toy.run(replace(config, factor=3)) == []
    assert toy.run(config) == ["multiply"]


def test_status_lists_every_stage_without_a_lock(toy, config, capsys):
    toy.run(config)
    with hold(config.folder, "run toy/run", wait=False):
        housekeeping.status(SimpleNamespace(runs=config.runs))
    said = capsys.readouterr().out
    assert said.count("toy/run") == said.count("done") == 4


def test_the_record_tells_what_a_result_came_from(toy, config):
    toy.run(config)
    [folder] = toy.folders(config, "multiply")
    record = store.record(folder)
    assert record["section"] == {"factor": 2, "fails": False}
    assert record["digest"].startswith(folder.name.rsplit("-", 1)[1])
    assert record["inputs"].keys() == {"count"} and "reid-core" in record["packages"]


def test_the_resolved_configuration_lies_in_the_run_folder(toy, config):
    import yaml

    toy.run(config)
    assert yaml.safe_load((config.folder / "config.yaml").read_text())["factor"] == 2


@pytest.mark.faults
def test_nested_runs_that_a_kill_left_running_are_ended(toy, config):
    """Their events say so to whichever server gets them."""
    with pytest.raises(FloatingPointError):
        run(toy.recipe, replace(config, fails=True))
    path = config.folder / "tracking.jsonl"
    lines = path.read_text().splitlines()
    ends = [line for line in lines if json.loads(line)["event"] == "end"]
    path.write_text("\n".join(line for line in lines if line not in ends) + "\n")  # as a kill -9 leaves it
    run(toy.recipe, config)
    state = {}
    for line in path.read_text().splitlines():
        event = json.loads(line)
        if event["event"] in ("start", "resume", "end"):
            state[event["run"]] = event["event"]
    assert set(state.values()) == {"end"}
