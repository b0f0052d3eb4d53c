"""`embed`: rows beside features, the same bytes however often it is cut off, and what can't be read."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from reid_core.data import read
from reid_core.models import load
from reid_gallery import embedding
from reid_gallery.cli import main
from reid_gallery.features import open_features

FILES = ("rows.parquet", "features.npy", "features.valid.npy", "done.json")


def call(source: Path, model: Path, out: Path, *more: object) -> int:
    return main(["embed", str(source), "--model", str(model), "--out", str(out), *map(str, more)])


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def test_each_row_has_the_embedders_own_feature(people: Path, model: Path, tmp_path: Path) -> None:
    assert call(people, model, tmp_path / "f", "--block", 5) == 0
    found, made = open_features(tmp_path / "f")
    assert len(found.rows) == 24 and made.unreadable == 0 and set(found.rows.pids) == set(range(1, 7))
    expected = load(model).embed(found.rows.files)
    np.testing.assert_allclose(found.array, expected, atol=1e-5)
    assert {path.name for path in (tmp_path / "f").iterdir()} == {*FILES, "begun.json"}


def test_killed_and_called_again_it_ends_with_the_same_bytes(
    people: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(people, model, tmp_path / "whole", "--block", 4) == 0
    save, saved = embedding._save_block, []

    def stop_at_the_third(file: Path, block: embedding.Block) -> None:
        if len(saved) == 2:
            raise KeyboardInterrupt
        saved.append(file.name)
        save(file, block)

    monkeypatch.setattr(embedding, "_save_block", stop_at_the_third)
    assert call(people, model, tmp_path / "f", "--block", 4) == 128 + signal.SIGINT
    monkeypatch.setattr(
        embedding, "_save_block", lambda file, block: (saved.append(file.name), save(file, block))
    )
    assert call(people, model, tmp_path / "f", "--block", 4) == 0
    assert len(saved) == len(set(saved)) == 6, "a finished block is not made again"
    assert content(tmp_path / "f") == content(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.faults
def test_kill_9_again_and_again_changes_no_byte(people: Path, model: Path, tmp_path: Path) -> None:
    assert call(people, model, tmp_path / "whole", "--block", 2) == 0
    command = [sys.executable, "-m", "reid_gallery.cli", "embed", str(people), "--model", str(model)]
    command += ["--out", str(tmp_path / "f"), "--block", "2"]
    for wanted in (1, 4, 8):
        one = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while one.poll() is None and len(list((tmp_path / "f").rglob("0*.npy"))) < 2 * wanted:
            time.sleep(0.001)
        one.send_signal(signal.SIGKILL)
        one.wait()
    assert subprocess.run(command).returncode == 0
    assert content(tmp_path / "f") == content(tmp_path / "whole")


@pytest.mark.faults
def test_unreadable_images_are_rows_that_are_not_valid(
    people: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = shutil.copytree(people, tmp_path / "people")
    (source / "001" / "c1_0.png").write_bytes(b"no image")
    assert call(source, model, tmp_path / "f") == 1, "more than one in a hundred"
    assert "24 features of 128 numbers, 1 unreadable" in capsys.readouterr().out
    found, made = open_features(tmp_path / "f")
    assert made.unreadable == 1 and not found.array[~found.valid].any()
    assert [file.name for file in found.unreadable] == ["c1_0.png"]
    assert call(source, model, tmp_path / "f", "--allow_unreadable", 0.1) == 0


@pytest.mark.faults
def test_what_the_storage_does_not_give_is_no_row_and_asked_for_again(
    people: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("reid_core.data.decoding.RETRY_SECONDS", (0.0,))
    real = os.path.basename
    from reid_core.data import decoding

    read = decoding.image_bytes

    def fail(path: str) -> bytes:
        if real(path) == "c1_0.png" and "/002/" in path:
            raise OSError(5, "Input/output error", path)
        return read(path)

    monkeypatch.setattr(decoding, "image_bytes", fail)
    assert call(people, model, tmp_path / "f", "--block", 4) == 1
    assert "1 of 6 blocks hold images that can't be reached" in capsys.readouterr().err
    monkeypatch.setattr(decoding, "image_bytes", read)
    assert call(people, model, tmp_path / "f", "--block", 4) == 0
    assert call(people, model, tmp_path / "whole", "--block", 4) == 0
    assert content(tmp_path / "f") == content(tmp_path / "whole")


def test_a_folder_of_other_features_is_refused(
    people: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(people, model, tmp_path / "f") == 0
    assert call(people, model, tmp_path / "f", "--split", "[query]") == 1
    assert "name another folder" in capsys.readouterr().err


def test_several_devices_give_the_same_features(people: Path, model: Path, tmp_path: Path) -> None:
    assert call(people, model, tmp_path / "one", "--block", 4) == 0
    assert call(people, model, tmp_path / "two", "--block", 4, "--devices", "cpu,cpu") == 0
    assert content(tmp_path / "two") == content(tmp_path / "one")


@pytest.mark.slow
def test_a_ray_cluster_gives_the_same_features(people: Path, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    assert call(people, model, tmp_path / "here", "--block", 4) == 0
    assert call(people, model, tmp_path / "there", "--block", 4, "--ray", "local") == 0
    assert content(tmp_path / "there") == content(tmp_path / "here")


def test_a_folder_of_unlabeled_images_is_embedded_too(people: Path, model: Path, tmp_path: Path) -> None:
    for person in range(1, 4):
        shutil.copy(people / f"{person:03d}" / "c1_0.png", tmp_path / f"{person}.png")
    assert call(tmp_path, model, tmp_path / "out" / "f") == 0
    assert open_features(tmp_path / "out" / "f")[0].rows.pids.tolist() == [-1, -1, -1]


def test_a_tracklet_has_one_row_its_middle_frame_and_the_embedders_own_feature(
    people: Path, model: Path, tmp_path: Path
) -> None:
    rows = read("folder", people)  # a sub-folder is a tracklet
    rows.save(tmp_path / "tracklets.parquet")
    assert call(tmp_path / "tracklets.parquet", model, tmp_path / "f", "--tracklets", "--block", 4) == 0
    found, _ = open_features(tmp_path / "f")
    expected = load(model).embed(rows, tracklets=True)
    np.testing.assert_allclose(found.array, expected, atol=1e-5)
    assert [file.name for file in found.rows.files] == ["c2_0.png"] * 6
