"""Readers of image data sets, on miniatures in the exact layouts of the releases."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reid_core.data.counts import differences
from reid_core.data.readers import ReaderError, read

CUHK = Path(os.environ.get("REID_CUHK01_ROOT", Path(__file__).parents[4] / "shared" / "data" / "cuhk01"))


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_market1501_adds_the_500k_distractors_to_the_gallery_when_asked(tmp_path):
    touch(tmp_path, "bounding_box_train/0002_c1s1_000451_03.jpg", "query/0001_c3s2_001234_00.jpg")
    touch(tmp_path, "bounding_box_test/0001_c6s4_000001_01.jpg", "images/0007_c2s1_000001_00.jpg")
    assert len(read("market1501", tmp_path)) == 3
    manifest = read("market1501", tmp_path, distractors_500k=True)
    last = manifest.table.iloc[-1]
    assert (last["path"], last["pid"], last["camid"]) == ("images/0007_c2s1_000001_00.jpg", 0, 2)
    assert (last["split"], last["frame"], last["video"]) == ("gallery", -1, -1)


def msmt17(root, folders):
    lists = {
        "train": (folders[0], ["0000/0000_000_01_0303morning_0008_0.jpg 0"]),
        "val": (folders[0], ["0001/0001_005_15_0113noon_0020_2_ex.jpg 1"]),
        "query": (folders[1], ["0000/0000_003_04_0302afternoon_0100_1.jpg 0"]),
        "gallery": (folders[1], ["0000/0000_000_05_0302afternoon_0107_0.jpg 0"]),
    }
    for name, (folder, lines) in lists.items():
        (root / f"list_{name}.txt").parent.mkdir(parents=True, exist_ok=True)
        (root / f"list_{name}.txt").write_text("\n".join(lines) + "\n")
        touch(root, *(f"{folder}/{line.split()[0]}" for line in lines))
    return root


@pytest.mark.parametrize(
    ("version", "folders"),
    [("MSMT17_V1", ("train", "test")), ("MSMT17_V2", ("mask_train_v2", "mask_test_v2"))],
)
def test_msmt17_numbers_test_people_after_training_people(tmp_path, version, folders):
    msmt17(tmp_path / version, folders)
    manifest = read("msmt17", tmp_path)
    assert manifest.table["split"].tolist() == ["train", "train", "query", "gallery"]
    assert manifest.pids.tolist() == [1, 2, 3, 3]
    assert manifest.camids.tolist() == [1, 15, 4, 5]
    assert manifest.table["frame"].tolist() == [8, 20, 100, 107]
    assert manifest.table["video"].tolist() == [103030, 1501131, 403022, 503022]
    assert all(path.is_file() for path in manifest.files)
    assert read("msmt17", tmp_path / version, val=False).pids.tolist() == [1, 2, 2]


def test_msmt17_names_a_bad_line(tmp_path):
    msmt17(tmp_path, ("train", "test"))
    (tmp_path / "list_query.txt").write_text("\n0000/0000_003_04_0302afternoon_0100_1.jpg\n")
    with pytest.raises(ReaderError, match=r"list_query.txt: line 2 is '0000/.*expected a path and a label"):
        read("msmt17", tmp_path)
    (tmp_path / "list_query.txt").write_text("")
    with pytest.raises(ReaderError, match="holds no line"):
        read("msmt17", tmp_path)


def prcc(root):
    touch(root, *(f"prcc/rgb/train/{p}/{c}_cropped_rgb001.jpg" for p in ("002", "003") for c in "ABC"))
    touch(root, "prcc/rgb/val/002/A_cropped_rgb016.jpg")
    touch(root, *(f"prcc/rgb/test/{c}/{p}/cropped_rgb010.jpg" for c in "ABC" for p in ("001", "005")))
    return root


def test_prcc_asks_camera_a_in_other_clothes_or_in_the_same(tmp_path):
    manifest = read("prcc", prcc(tmp_path))
    table = manifest.table
    train, query = manifest.select("train").table, manifest.select("query").table
    assert train["clothes"].tolist() == [4, 4, 5, 6, 6, 7] and train["camid"].tolist() == [1, 2, 3] * 2
    assert query["path"].tolist() == ["test/C/001/cropped_rgb010.jpg", "test/C/005/cropped_rgb010.jpg"]
    assert query["clothes"].tolist() == [3, 11] and query["frame"].tolist() == [10, 10]
    assert table["pid"][table["split"] == "gallery"].tolist() == [1, 5]
    assert all(path.is_file() for path in manifest.files)
    same = read("prcc", tmp_path / "prcc", protocol="same_clothes", val=True)
    assert same.name == "prcc_same_clothes" and len(same.select("train")) == 7
    assert same.select("query").table["clothes"].tolist() == [2, 10]


def test_prcc_refuses_an_unknown_protocol_and_an_empty_part(tmp_path):
    with pytest.raises(ReaderError, match="got protocol 'x'; expected one of cloth_changing, same_clothes"):
        read("prcc", prcc(tmp_path), protocol="x")
    (tmp_path / "prcc/rgb/test/C").rename(tmp_path / "prcc/rgb/test/D")
    with pytest.raises(FileNotFoundError, match="test/C"):
        read("prcc", tmp_path)


def ltcc(root):
    touch(root, "LTCC_ReID/train/000_1_c1_000001.png", "LTCC_ReID/train/094_2_c9_015923.png")
    touch(root, *(f"LTCC_ReID/query/{name}.png" for name in ("001_1_c2_000010", "002_1_c2_000011")))
    gallery = ("001_1_c3_000012", "001_2_c3_000013", "002_1_c4_000014")
    touch(root, *(f"LTCC_ReID/test/{name}.png" for name in gallery))
    return root


def test_ltcc_numbers_people_from_1_and_outfits_a_person(tmp_path):
    manifest = read("ltcc", ltcc(tmp_path))
    assert manifest.pids.tolist() == [1, 95, 2, 3, 2, 2, 3]
    assert manifest.table["clothes"].tolist() == [101, 9502, 201, 301, 201, 202, 301]
    assert manifest.camids.tolist() == [1, 9, 2, 2, 3, 3, 4]
    assert all(path.is_file() for path in manifest.files)


def test_ltcc_cloth_changing_queries_have_other_clothes_in_the_gallery(tmp_path):
    manifest = read("ltcc", ltcc(tmp_path), protocol="cloth_changing")
    assert manifest.select("query").pids.tolist() == [2]
    assert len(manifest.select("gallery")) == 3 and len(manifest.select("train")) == 2
    (tmp_path / "LTCC_ReID/test/001_2_c3_000013.png").unlink()
    with pytest.raises(ReaderError, match="no query's person changes clothes"):
        read("ltcc", tmp_path, protocol="cloth_changing")


def test_viper_divides_people_in_ten_ways_and_asks_camera_a_in_camera_b(tmp_path):
    touch(tmp_path, *(f"VIPeR/cam_a/{p:03}_45.bmp" for p in (0, 1, 5, 873)))
    touch(tmp_path, *(f"VIPeR/cam_b/{p:03}_90.bmp" for p in (0, 1, 5, 873)))
    divisions = set()
    for split in range(10):
        manifest = read("viper", tmp_path, split=split)
        train, query, gallery = (manifest.select(name) for name in ("train", "query", "gallery"))
        assert sorted({*train.pids, *query.pids}) == [1, 2, 6, 874] and len(train) == 4
        assert query.pids.tolist() == gallery.pids.tolist()
        assert set(query.camids) == {1} and set(gallery.camids) == {2}
        divisions.add(tuple(query.pids))
    assert len(divisions) > 1
    with pytest.raises(ReaderError, match="got split 10; expected 0 to 9"):
        read("viper", tmp_path, split=10)
    (tmp_path / "VIPeR/cam_b/005_90.bmp").unlink()
    with pytest.raises(ReaderError, match="person 005 .* in one of cam_a and cam_b only"):
        read("viper", tmp_path)


def cuhk01(root, people):
    touch(root, *(f"campus/{person:04}{image:03}.png" for person in people for image in range(1, 5)))
    return root


def test_cuhk01_trains_on_485_people_and_asks_view_a_in_view_b(tmp_path):
    manifest = read("cuhk01", cuhk01(tmp_path / "CUHK01", range(1, 488)).parent)
    train, query, gallery = (manifest.select(split) for split in ("train", "query", "gallery"))
    assert (len(set(train.pids)), len(train)) == (485, 4 * 485) and set(train.camids) == {1, 2}
    assert set(query.camids) == {1} and set(gallery.camids) == {2}
    assert set(query.pids) == set(gallery.pids) and len(query) == len(gallery) == 4
    assert [path[-5] for path in gallery.table["path"]] == ["3", "4"] * 2
    assert read("cuhk01", tmp_path / "CUHK01/campus", seed=1).digest != manifest.digest
    single = {
        tuple(read("cuhk01", tmp_path, shot="single", seed=seed).select("gallery").table["path"].str[-5])
        for seed in range(8)
    }
    assert len(single) > 1 and all(len(images) == 2 and set(images) <= {"3", "4"} for images in single)


def test_cuhk01_refuses_an_unknown_shot_and_too_few_people(tmp_path):
    with pytest.raises(ReaderError, match="got shot 'one'; expected one of multi, single"):
        read("cuhk01", tmp_path, shot="one")
    with pytest.raises(ReaderError, match="holds 2 people; expected more than 485"):
        read("cuhk01", cuhk01(tmp_path, (3, 4)))


@pytest.mark.skipif(not CUHK.is_dir(), reason="CUHK01 is not here: set REID_CUHK01_ROOT to its folder")
def test_cuhk01_is_as_published():
    for shot in ("multi", "single"):
        assert differences(read("cuhk01", CUHK, shot=shot)) == []


def test_an_unknown_option_is_named_with_those_there_are(tmp_path):
    with pytest.raises(ReaderError, match="msmt17 has no option 'split'; it has val"):
        read("msmt17", tmp_path, split=1)
    with pytest.raises(ReaderError, match="mars has no option 'val'; it has none"):
        read("mars", tmp_path, val=True)
