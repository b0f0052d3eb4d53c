"""Readers, on miniature data sets in the exact layouts of the releases."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from reid_core.cli.data import main
from reid_core.data.readers import ReaderError, read
from reid_core.data.readiness import find_gaps

PKU = Path(os.environ.get("REID_PKU_ROOT", Path(__file__).parents[4] / "shared" / "data" / "pku-reid"))


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def market(tmp_path):
    touch(tmp_path, "bounding_box_train/0002_c1s1_000451_03.jpg", "bounding_box_train/Thumbs.db")
    touch(tmp_path, "query/0001_c3s2_001234_00.jpg")
    touch(tmp_path, *(f"bounding_box_test/{name}_c6s4_000001_01.jpg" for name in ("-1", "0000", "0001")))
    return tmp_path


def test_market1501(market):
    manifest = read("market1501", market)
    assert manifest.table["split"].tolist() == ["train", "query", "gallery", "gallery", "gallery"]
    assert manifest.pids.tolist() == [2, 1, -1, 0, 1]
    assert manifest.camids.tolist() == [1, 3, 6, 6, 6]
    assert manifest.table["frame"].tolist()[:2] == [451, 1234]
    assert all(path.is_file() for path in manifest.files)


def test_market1501_names_a_file_that_cant_be_parsed(market):
    touch(market, "query/person.jpg")
    with pytest.raises(ReaderError, match=r"query/person.jpg.*pid_cCsS_frame_index.jpg"):
        read("market1501", market)


def test_market1501_refuses_an_empty_split_and_a_missing_folder(market):
    (market / "query/0001_c3s2_001234_00.jpg").unlink()
    with pytest.raises(ReaderError, match="query holds no image"):
        read("market1501", market)
    (market / "query").rmdir()
    with pytest.raises(FileNotFoundError, match="query"):
        read("market1501", market)


def mars(root, train_rows=((1, 2, 1, 1), (3, 3, 3, 2)), queries=(2,)):
    names = {
        "train": ["0001C1T0001F001.jpg", "0001C1T0001F002.jpg", "0003C2T0001F001.jpg"],
        "test": ["00-1C1T0001F001.jpg", "0002C1T0001F001.jpg", "0002C1T0001F002.jpg", "0002C5T0001F001.jpg"],
    }
    tracks = {"train": train_rows, "test": ((1, 1, -1, 1), (2, 3, 2, 1), (4, 4, 2, 5))}
    (root / "info").mkdir()
    for part in names:
        touch(root, *(f"bbox_{part}/{name[:4]}/{name}" for name in names[part]))
        (root / "info" / f"{part}_name.txt").write_text("\r\n".join(names[part]) + "\r\n")
        savemat(
            root / "info" / f"tracks_{part}_info.mat", {f"track_{part}_info": np.array(tracks[part], float)}
        )
    savemat(root / "info" / "query_IDX.mat", {"query_IDX": np.array([queries], np.uint16)})
    return root


@pytest.mark.faults
def test_mars(tmp_path):
    manifest = read("mars", mars(tmp_path))
    rows = manifest.tracklets()
    splits, frames = manifest.table["split"], manifest.table["frame"]
    assert [splits[row[0]] for row in rows] == ["train", "train", "gallery", "gallery", "gallery", "query"]
    assert [manifest.pids[row[0]] for row in rows] == [1, 3, -1, 2, 2, 2]
    assert [manifest.camids[row[0]] for row in rows] == [1, 2, 1, 1, 5, 1]
    assert [frames[row].tolist() for row in rows] == [[0, 1], [0], [0], [0, 1], [0], [0, 1]]
    assert all(path.is_file() for path in manifest.files)


def test_a_mars_querys_only_match_may_be_another_query(tmp_path):
    manifest = read("mars", mars(tmp_path, queries=(2, 3)))
    query, gallery = manifest.select("query"), manifest.select("gallery")
    assert set(query.table["path"]) < set(gallery.table["path"])
    matches = [
        int(((gallery.pids == pid) & (gallery.camids != camid)).sum())
        for pid, camid in zip(query.pids, query.camids, strict=True)
    ]
    assert matches == [1, 1, 2]  # images: of the other query, and of nobody else
    assert find_gaps(manifest).evaluation == []


@pytest.mark.faults
def test_what_differs_from_the_published_counts_of_mars_is_said(tmp_path, capsys):
    assert main(["stats", "mars", "--root", str(mars(tmp_path))]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("differs from the published: train tracklets 8,298 expected, 2 found")
    assert "query tracklets 1,980 expected, 1 found; gallery tracklets 12,180 expected, 3 found" in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_rows": ((1, 2, 1, 1), (3, 4, 3, 2))}, r"row 2 is lines 3 to 4"),
        ({"train_rows": ((1, 2, 1, 1), (3, 3, 4, 2))}, r"row 2 says pid 4.*0003C2T0001F001"),
        ({"queries": (4,)}, r"query_IDX.mat"),
    ],
)
def test_mars_refuses_rows_that_disagree_with_the_names(tmp_path, change, message):
    with pytest.raises(ReaderError, match=message):
        read("mars", mars(tmp_path, **change))


def test_pku_reid_divides_identities_and_puts_test_images_into_query_and_gallery(tmp_path):
    folder = "PKUv1a_128x48"
    touch(
        tmp_path, *(f"{folder}/{p:03}_{c:02}_{o}.png" for p in range(1, 7) for c in (1, 2) for o in (1, 2, 3))
    )
    manifest = read("pku_reid", tmp_path, train_fraction=0.5, seed=1)
    train, query, gallery = (manifest.select(split) for split in ("train", "query", "gallery"))
    assert len(train) == len(query) == len(gallery) == 18
    assert not set(train.pids) & set(query.pids)
    assert query.table["path"].tolist() == gallery.table["path"].tolist()
    assert [len(rows) for rows in manifest.tracklets()] == [3] * 18
    assert read("pku_reid", tmp_path / folder, train_fraction=0.5, seed=1).digest == manifest.digest
    assert any(
        read("pku_reid", tmp_path, train_fraction=0.5, seed=s).digest != manifest.digest for s in range(9)
    )
    with pytest.raises(ReaderError, match="at least one on each side"):
        read("pku_reid", tmp_path, train_fraction=1.0)


@pytest.mark.skipif(not PKU.is_dir(), reason="PKU-Reid is not here: set REID_PKU_ROOT to its folder")
def test_pku_reid_as_published():
    manifest = read("pku_reid", PKU)
    once = manifest.select("train", "query")
    assert len(once) == 992 and len(set(once.pids)) == 62 and set(once.camids) == {1, 2}
    assert len(set(manifest.select("train").pids)) == 42
    assert len(once.tracklets()) == 124


def test_folder_makes_tracklets_of_sub_folders_at_any_depth(tmp_path):
    touch(
        tmp_path,
        "z.png",
        "a.JPG",
        "._a.jpg",
        "notes.txt",
        "v1/t1/2.jpg",
        "v1/t1/1.jpg",
        "v0/1.jpg",
        ".git/x.jpg",
    )
    manifest = read("folder", tmp_path)
    assert manifest.table["path"].tolist() == ["a.JPG", "z.png", "v0/1.jpg", "v1/t1/1.jpg", "v1/t1/2.jpg"]
    assert set(manifest.table["split"]) == {"unlabeled"} and set(manifest.pids) == {-1}
    assert [rows.tolist() for rows in manifest.tracklets()] == [[2], [3, 4]]
    assert manifest.table["video"].tolist() == [-1, -1, -1, 0, 0]
    single = read("folder", tmp_path, tracklets=False)
    assert single.tracklets() == [] and set(single.table["video"]) == {-1}


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(ReaderError, match="holds no image"):
        read("folder", tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read("mars", tmp_path / "nowhere")
    with pytest.raises(ReaderError, match="no reader for 'cuhk'; there are market1501"):
        read("cuhk", tmp_path)
    with pytest.raises(ReaderError, match="withdrawn"):
        read("DukeMTMC-reID", tmp_path)
