"""The examples run: one's own folder, a search, and a tracker with appearance."""

from __future__ import annotations

import runpy
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

from reid_core.models import load
from reid_core.video import read_mot

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the examples are not beside the app here")


def run(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_an_own_folder_becomes_a_model_that_is_evaluated(tmp_path, people, monkeypatch, capsys) -> None:
    given = ("--backbone", "vit_nano_patch8", "--steps", 2, "--accelerator", "cpu")
    run(monkeypatch, "own_folder.py", people, tmp_path, *given)
    assert "mAP" in capsys.readouterr().out
    assert load(tmp_path / "model").dim == 128


def test_a_folder_is_embedded_and_searched(tmp_path, people, save_model, monkeypatch, capsys) -> None:
    model, query = save_model(tmp_path / "model", 0), next(people.glob("*/*.png"))
    shutil.copy(query, tmp_path / "query.png")
    run(monkeypatch, "search_gallery.py", people, model, tmp_path / "query.png", tmp_path / "out")
    score, person, path = capsys.readouterr().out.splitlines()[1].split()
    assert (score, int(person)) == ("1.000", int(query.parent.name)) and path.endswith(query.name)


def test_a_tracker_carries_features_and_joins_tracks(
    tmp_path, video, write_boxes, save_model, monkeypatch, capsys
) -> None:
    pytest.importorskip("trackers", reason="extra track")
    boxes, out = write_boxes(tmp_path / "boxes.txt", lambda number: -1), tmp_path / "tracks.txt"
    run(monkeypatch, "track_with_appearance.py", video, boxes, save_model(tmp_path / "model", 0), out)
    rows = read_mot(out)
    assert rows["track"].nunique() == 2 and "2 tracks" in capsys.readouterr().out
    assert (rows.groupby("track")["left"].nunique() == 1).all()


def test_a_track_goes_on_as_the_nearest_one_that_has_ended() -> None:
    import numpy as np

    pytest.importorskip("trackers", reason="extra track")
    rejoin = runpy.run_path(str(EXAMPLES / "track_with_appearance.py"))["rejoin"]
    tracks = pd.DataFrame({"track": [1, 2, 3, 4], "first": [1, 1, 20, 25], "last": [10, 30, 40, 40]})
    means = np.array([[1, 0], [0, 1], [0.9, 0.436], [0, 1]])
    assert rejoin(tracks, means) == {1: 1, 2: 2, 3: 1, 4: 4}  # 4 is 2's double, but 2 is still there
