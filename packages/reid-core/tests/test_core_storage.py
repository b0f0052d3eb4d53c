"""Storage that fails in packing and checks is no result and tried again; broken images are final, listed."""

from __future__ import annotations

import builtins
import errno
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from reid_core.cli.data import main
from reid_core.data import decoding
from reid_core.data.checks import check
from reid_core.data.decoding import UnreachableImage
from reid_core.data.manifest import Manifest
from reid_core.data.packing import pack, unreachable_images, unreadable_images
from reid_core.data.storage import MOST_IN_A_ROW, StorageGone, StorageWatch, read_intact

pytestmark = pytest.mark.faults

IMAGES = 2 * MOST_IN_A_ROW


@pytest.fixture
def images(tmp_path):
    """A manifest of images of a color each, below a folder of their own."""
    root = tmp_path / "images"
    root.mkdir()
    for number in range(IMAGES):
        Image.new("RGB", (2, 4), (number, 7, 99)).save(root / f"{number:03}.png")
    table = pd.DataFrame({"path": [f"{number:03}.png" for number in range(IMAGES)], "split": "train"})
    manifest = Manifest(table, root, "toy")
    manifest.save(tmp_path / "toy.parquet")
    return manifest


@pytest.fixture
def failing(monkeypatch):
    """Names of image files whose reading is an error of the disk; no pause between attempts."""
    names: set[str] = set()
    real = builtins.open

    def opens(path, *args, **kwargs):
        if Path(str(path)).name in names:
            raise OSError(errno.EIO, "Input/output error", str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", opens)
    monkeypatch.setattr(decoding, "RETRY_SECONDS", (0, 0))
    return names


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_read_that_succeeds_at_the_second_attempt_is_no_fault(images, monkeypatch):
    real, calls = decoding.image_bytes, []

    def blips(path):
        calls.append(path)
        if len(calls) % 2:
            raise OSError(errno.EIO, "Input/output error")
        return real(path)

    monkeypatch.setattr(decoding, "image_bytes", blips)
    monkeypatch.setattr(decoding, "RETRY_SECONDS", (0, 0))
    assert check(images, workers=1, progress=False).unreachable == {}
    assert len(calls) == 2 * IMAGES


def test_an_error_of_the_disk_is_packed_by_the_next_call_to_the_same_bytes(images, failing, tmp_path, capsys):
    pack(images, tmp_path / "whole", shard_images=50, progress=False)
    command = ["pack", str(tmp_path / "toy.parquet"), str(tmp_path / "out"), "--shard_images", "50"]
    failing |= {"003.png", "100.png"}
    assert main(command) == 1
    assert "2 images could not be reached; the same command packs them" in capsys.readouterr().out
    assert sorted(line.split(":")[0] for line in unreachable_images(tmp_path / "out")) == [
        "003.png",
        "100.png",
    ]
    assert unreadable_images(tmp_path / "out") == []
    assert main(command) == 1  # they are still away
    failing.clear()
    assert main(command) == 0
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_bytes_that_are_no_image_are_final_and_listed(images, tmp_path, monkeypatch):
    (images.root / "005.png").write_bytes(b"no image")
    pack(images, tmp_path / "out", shard_images=50, progress=False)
    assert [line.split(":")[0] for line in unreadable_images(tmp_path / "out")] == ["005.png"]
    assert unreachable_images(tmp_path / "out") == []
    monkeypatch.setattr("reid_core.data.packing.read_intact", lambda *_: pytest.fail("read again"))
    assert len(pack(images, tmp_path / "out", shard_images=50, progress=False)) == IMAGES - 1


def test_packing_allows_a_share_of_unreadable_images(images, tmp_path):
    (images.root / "005.png").write_bytes(b"no image")
    command = ["pack", str(tmp_path / "toy.parquet"), str(tmp_path / "out")]
    assert main(command) == 0
    assert main([*command, "--allow_unreadable", "0"]) == 1


@pytest.mark.parametrize("command", ["pack", "check"])
def test_images_renamed_away_stop_the_work_in_one_line_and_it_resumes(images, command, tmp_path, capsys):
    out = {"pack": [str(tmp_path / "out")], "check": ["--resume", str(tmp_path / "record")]}[command]
    given = [command, str(tmp_path / "toy.parquet"), *out]
    images.root.rename(tmp_path / "away")
    assert main(given) == 1
    said = capsys.readouterr().err
    assert f"{images.root}: the folder of the images is gone" in said and "the same command resumes" in said
    assert said.count("\n") == 1
    (tmp_path / "away").rename(images.root)
    assert main(given) == 0


@pytest.mark.parametrize("command", ["pack", "check"])
def test_so_many_errors_in_a_row_stop_the_work_soon(images, failing, command, tmp_path, capsys):
    out = {"pack": [str(tmp_path / "out")], "check": ["--resume", str(tmp_path / "record")]}[command]
    given = [command, str(tmp_path / "toy.parquet"), *out]
    failing |= set(images.table["path"])
    assert main(given) == 1
    said = capsys.readouterr().err
    assert f"{MOST_IN_A_ROW} images in a row can't be reached" in said and said.count("\n") == 1
    assert not list((tmp_path / "out").glob("*.t*"))
    failing.clear()
    assert main(given) == 0


def test_a_check_keeps_nothing_of_an_image_that_the_storage_did_not_give(images, failing, tmp_path):
    failing |= {"003.png"}
    first = check(images, resume=tmp_path / "record", progress=False)
    assert list(first.unreachable) == ["003.png"] and first.unreadable == {}
    failing.clear()
    assert check(images, resume=tmp_path / "record", progress=False) == check(images, progress=False)


def test_a_check_allows_a_share_of_unreadable_images_and_none_unreachable(images, failing, tmp_path, capsys):
    (images.root / "005.png").write_bytes(b"no image")
    command = ["check", str(tmp_path / "toy.parquet")]
    assert main(command) == 0 and "unreadable images: 1\n  005.png" in capsys.readouterr().out
    assert main([*command, "--allow_unreadable", "0"]) == 1
    failing |= {"006.png"}
    assert main(command) == 1 and "images that the storage did not give: 1" in capsys.readouterr().out


def test_a_tracklet_that_is_missing_as_a_whole_is_no_failure_of_the_storage(tmp_path):
    watch = StorageWatch(tmp_path)
    for _ in range(2 * MOST_IN_A_ROW):
        watch.see(UnreachableImage("a/1.jpg"), unit=3)
    with pytest.raises(StorageGone, match="in a row"):
        watch.see(UnreachableImage("b/1.jpg"), unit=4)


def test_the_same_content_is_packed_to_the_same_bytes_wherever_it_lies(images, tmp_path):
    (images.root / "005.png").write_bytes(b"no image")
    (images.root / "006.png").write_bytes(b"")
    (images.root / "007.png").unlink()
    moved = tmp_path / "elsewhere" / "a folder of another name"
    shutil.copytree(images.root, moved)
    pack(images, tmp_path / "out", shard_images=50, progress=False)
    there = Manifest(images.table, moved, "toy")
    pack(there, tmp_path / "elsewhere" / "shards", shard_images=50, progress=False)
    first, second = content(tmp_path / "out"), content(tmp_path / "elsewhere" / "shards")
    assert first == second
    assert {name.split(".")[1] for name in first} >= {"unreadable", "unreachable"}
    assert not any(b" at 0x" in data or bytes(tmp_path) in data for data in first.values())


def test_shards_are_found_where_they_were_moved(images, tmp_path):
    pack(images, tmp_path / "out", progress=False)
    (tmp_path / "out").rename(tmp_path / "moved")
    assert Manifest.load(tmp_path / "moved" / "manifest.parquet").root == tmp_path / "moved"
    assert main(["check", str(tmp_path / "moved" / "manifest.parquet")]) == 0


def test_the_retries_of_a_failing_disk_take_seconds(images, monkeypatch, tmp_path):
    def fails(path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(decoding, "image_bytes", fails)
    monkeypatch.setattr(decoding, "RETRY_SECONDS", (0.01, 0.02))
    began = time.monotonic()
    with pytest.raises(StorageGone):
        check(images, workers=8, progress=False)
    assert time.monotonic() - began < 3 * 0.03 * MOST_IN_A_ROW


def test_bytes_are_given_only_of_an_image_that_can_be_decoded(images):
    assert isinstance(read_intact(images.root, "000.png"), bytes)
    lost = read_intact(images.root, "nothing.png")
    assert isinstance(lost, UnreachableImage) and str(images.root) not in str(lost)
    assert isinstance(lost.__cause__, FileNotFoundError)
