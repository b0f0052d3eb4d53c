"""Readers of video data sets and of image-video mixes, on miniatures in the exact layouts of the releases."""

from __future__ import annotations

import json
import sys

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from reid_core.data.readers import ReaderError, read


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def prid2011(root, lengths):
    """`lengths`: person -> frames before camera A and B."""
    for person, counts in lengths.items():
        for camera, count in zip("ab", counts, strict=True):
            folder = f"prid_2011/multi_shot/cam_{camera}/person_{person:04}"
            touch(root, *(f"{folder}/{frame:04}.png" for frame in range(1, count + 1)))
    return root


def test_prid2011_takes_people_of_both_cameras_with_more_than_27_frames(tmp_path):
    lengths = {1: (28, 30), 2: (28, 28), 3: (27, 40), 4: (40, 27), 5: (29, 31), 6: (28, 28), 300: (50, 0)}
    manifest = read("prid2011", prid2011(tmp_path, lengths))
    assert sorted(set(manifest.pids)) == [1, 2, 5, 6]
    train, query, gallery = (manifest.select(name) for name in ("train", "query", "gallery"))
    assert len(train.tracklets()) == 4 and len(query.tracklets()) == len(gallery.tracklets()) == 2
    assert set(query.camids) == {1} and set(gallery.camids) == {2} and set(query.pids) == set(gallery.pids)
    assert not set(train.pids) & set(query.pids)
    assert query.table["frame"].iloc[:2].tolist() == [1, 2]
    assert all(path.is_file() for path in manifest.files)
    divisions = {
        tuple(sorted(set(read("prid2011", tmp_path, split=s).select("query").pids))) for s in range(10)
    }
    assert len(divisions) > 1
    with pytest.raises(ReaderError, match="0 people .* more than 60 frames .*lower min_frames"):
        read("prid2011", tmp_path, min_frames=60)


def test_prid2011_takes_the_published_divisions_where_their_file_is(tmp_path):
    prid2011(tmp_path, {p: (3, 3) for p in (1, 2, 3, 4)})
    splits = [{"train": ["person_0001", "person_0004"], "test": ["person_0002", "person_0003"]}] * 10
    (tmp_path / "splits_prid2011.json").write_text(json.dumps(splits))
    for root in (tmp_path, tmp_path / "prid_2011"):
        manifest = read("prid2011", root, split=9, min_frames=2)
        assert sorted(set(manifest.select("train").pids)) == [1, 4]
    (tmp_path / "splits_prid2011.json").write_text("[]")
    with pytest.raises(ReaderError, match="splits_prid2011.json: can't read division 0"):
        read("prid2011", tmp_path, min_frames=2)


def ilids_vid(root, people=(1, 2, 4, 7)):
    for camera in (1, 2):
        for person in people:
            stem = f"i-LIDS-VID/sequences/cam{camera}/person{person:03}/cam{camera}_person{person:03}"
            touch(root, f"{stem}_00317.png", f"{stem}_00318.png")
    rng = np.random.default_rng(0)
    places = np.stack([rng.permutation(len(people)) + 1 for _ in range(10)])
    (root / "train-test people splits").mkdir()
    savemat(root / "train-test people splits/train_test_splits_ilidsvid.mat", {"ls_set": places})
    return places


def test_ilids_vid_takes_the_first_half_of_a_row_for_test(tmp_path):
    places = ilids_vid(tmp_path)
    for split in range(10):
        manifest = read("ilids_vid", tmp_path, split=split)
        test = np.array([1, 2, 4, 7])[places[split, :2] - 1]
        assert set(manifest.select("query").pids) == set(manifest.select("gallery").pids) == set(test)
    assert manifest.select("query").table["frame"].tolist() == [317, 318] * 2
    assert set(manifest.select("query").camids) == {1} and set(manifest.select("gallery").camids) == {2}
    assert [len(rows) for rows in manifest.tracklets()] == [2] * 8
    assert all(path.is_file() for path in manifest.files)


def test_ilids_vid_refuses_divisions_of_other_people(tmp_path):
    ilids_vid(tmp_path)
    touch(tmp_path, "i-LIDS-VID/sequences/cam1/person009/cam1_person009_00001.png")
    with pytest.raises(ReaderError, match=r"got a matrix of \(10, 4\); expected \[10 5\]"):
        read("ilids_vid", tmp_path)
    touch(tmp_path, "i-LIDS-VID/sequences/cam1/nobody/cam1_nobody_00001.png")
    with pytest.raises(ReaderError, match="nobody: expected a name that ends in a number"):
        read("ilids_vid", tmp_path)


def ls_vid(root):
    lists = {
        "train": ["tracklet_train/0000/0000_0000_ 0", "tracklet_train/0003/0003_0001 1"],
        "test": [
            f"tracklet_test/{line}" for line in ("0001/0001_0001 0", "0001/0001_0012 0", "0002/0002_0000 1")
        ],
    }
    cameras = {"0000_0000": "03", "0003_0001": "15", "0001_0001": "01", "0001_0012": "02", "0002_0000": "01"}
    (root / "list_sequence").mkdir(parents=True)
    for part, lines in lists.items():
        (root / f"list_sequence/list_seq_{part}.txt").write_text("\n".join(lines) + "\n")
        for line in lines:
            start = line.split()[0].rstrip("_")
            camera = cameras[start.rpartition("/")[2]]
            touch(root, f"{start}_{camera}_0001.jpg", f"{start}_{camera}_0002.jpg", f"{start[:-5]}/.DS_Store")
    return root


def test_ls_vid_numbers_test_people_after_training_people_and_takes_listed_queries(tmp_path):
    root = ls_vid(tmp_path / "LS-VID")
    (root / "test/data").mkdir(parents=True)
    savemat(root / "test/data/info_test.mat", {"query": np.array([[2.0]]), "gallery": np.array([[1, 3]])})
    manifest = read("ls_vid", tmp_path)
    tracklets = manifest.table.groupby("tracklet").first()
    assert tracklets["split"].tolist() == ["train", "train", "gallery", "query", "gallery"]
    assert tracklets["pid"].tolist() == [1, 2, 3, 3, 4] and tracklets["camid"].tolist() == [3, 15, 1, 2, 1]
    assert [manifest.table["frame"][rows].tolist() for rows in manifest.tracklets()] == [[1, 2]] * 5
    assert all(path.is_file() for path in manifest.files)
    np.save(root / "test/query.npy", np.array([3]))
    again = read("ls_vid", root)
    assert again.select("query").pids.tolist() == [4, 4]


def test_ls_vid_reads_the_queries_of_a_matlab_7_3_file(tmp_path):
    root = ls_vid(tmp_path)
    (root / "test/data").mkdir(parents=True)
    file = root / "test/data/info_test.mat"
    # As MATLAB writes it with -v7.3: HDF5 behind 512 bytes of its own, matrices transposed.
    with h5py.File(file, "w", userblock_size=512) as content:
        content["query"] = np.array([[2.0], [3.0]])
        content["gallery"] = np.array([[1.0]])
        content.create_group("#refs#")
    with open(file, "r+b") as header:
        header.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    manifest = read("ls_vid", root)
    assert manifest.select("query").table["tracklet"].unique().tolist() == [3, 4]
    with h5py.File(file, "a") as content:
        del content["query"]
    with pytest.raises(ReaderError, match="info_test.mat: holds gallery; expected the variable 'query'"):
        read("ls_vid", root)


def test_ls_vid_names_what_is_missing(tmp_path, monkeypatch):
    root = ls_vid(tmp_path)
    with pytest.raises(FileNotFoundError, match="info_test.mat"):
        read("ls_vid", root)
    (root / "test").mkdir()
    np.save(root / "test/query.npy", np.array([4]))
    with pytest.raises(ReaderError, match="query.npy: got 1 queries, the greatest 4; expected lines 1 to 3"):
        read("ls_vid", root)
    (root / "test/query.npy").unlink()
    # A MATLAB 7.3 file begins with a text and this version number; without h5py it can't be read.
    (root / "test/info_test.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ReaderError, match="info_test.mat: is a MATLAB 7.3 file.*pip install h5py"):
        read("ls_vid", root)
    for image in (root / "tracklet_test/0002").glob("*.jpg"):
        image.unlink()
    with pytest.raises(ReaderError, match=r"list_seq_test.txt: entry 3: there is no image .*0002_0000\*"):
        read("ls_vid", root)


def g2a_vreid(root, queries):
    """People 1 (train) and 2 (test), each before cameras 1 and 2."""
    (root / "info").mkdir(parents=True)
    for part, person in (("train", "0001"), ("test", "0002")):
        names = [f"{person}C{camera}T0001F{frame:03}.jpg" for camera in (1, 2) for frame in (1, 2)]
        touch(root, *(f"bbox_{part}/{person}/{name}" for name in names))
        (root / f"info/{part}_name.txt").write_text("\n".join(names) + "\n")
        rows = np.array([(1, 2, int(person), 1), (3, 4, int(person), 2)])
        savemat(root / f"info/tracks_{part}_info.mat", {f"track_{part}_info": rows})
    savemat(root / "info/query_IDX.mat", {"query_IDX": np.array([queries])})
    return root


def test_g2a_vreid_asks_from_the_ground_in_the_uavs_gallery(tmp_path):
    g2a_vreid(tmp_path / "G2A-VReID", [2])
    manifest = read("g2a_vreid", tmp_path)
    assert set(manifest.select("query").table["platform"]) == {"ground"}
    assert set(manifest.select("gallery").table["platform"]) == {"aerial"}
    assert manifest.select("train").table["platform"].tolist() == ["aerial"] * 2 + ["ground"] * 2
    assert manifest.name == "g2a_vreid" and all(path.is_file() for path in manifest.files)


def test_g2a_vreid_refuses_query_tracklets_of_both_platforms(tmp_path):
    root = g2a_vreid(tmp_path, [2])
    rows = np.array([(1, 2, 2, 1), (3, 3, 2, 2), (4, 4, 2, 2)])
    savemat(root / "info/tracks_test_info.mat", {"track_test_info": rows})
    savemat(root / "info/query_IDX.mat", {"query_IDX": np.array([[1, 2]])})
    with pytest.raises(ReaderError, match=r"from the cameras \[1, 2\]; expected one ground camera"):
        read("g2a_vreid", root)


def test_image_video_mixes_folders_of_images_and_of_tracklets(tmp_path):
    touch(tmp_path, "query/G00017/b.jpg", "query/G00017/a.jpg", "query/3/a.jpg")
    touch(tmp_path, "gallery/G00017/walk1/1.jpg", "gallery/G00017/walk1/2.jpg", "gallery/G00003/x/1.jpg")
    manifest = read("image_video", tmp_path)
    query, gallery = manifest.select("query"), manifest.select("gallery")
    assert query.pids.tolist() == [3, 17, 17] and query.tracklets() == []
    assert [set(gallery.pids[rows]) for rows in gallery.tracklets()] == [{3}, {17}]
    assert gallery.table["frame"].tolist() == [0, 0, 1]
    assert not set(query.camids) & set(gallery.camids)
    assert all(path.is_file() for path in manifest.files)
    touch(tmp_path, "query/unknown/a.jpg")
    with pytest.raises(ReaderError, match="query/unknown: expected a person's number"):
        read("image_video", tmp_path)


def test_image_video_takes_any_manifests_queries_and_any_manifests_gallery(tmp_path):
    touch(tmp_path, "stills/query/5/a.jpg", "stills/gallery/5/t/a.jpg")
    video = g2a_vreid(tmp_path / "video", [2])
    read("image_video", tmp_path / "stills").save(tmp_path / "stills.parquet")
    read("g2a_vreid", video).save(tmp_path / "video.parquet")
    mix = read("image_video", tmp_path, query="stills.parquet", gallery="video.parquet")
    assert mix.table["path"].tolist()[0] == "stills/query/5/a.jpg" and mix.root == tmp_path
    assert mix.table["split"].tolist() == ["query", "gallery", "gallery"]
    assert mix.table["platform"].tolist() == ["", "aerial", "aerial"] and len(mix.tracklets()) == 1
    reverse = read("image_video", tmp_path, query="video.parquet", gallery="stills.parquet")
    assert reverse.select("query").tracklets() == [] and len(reverse.select("gallery").tracklets()) == 1
