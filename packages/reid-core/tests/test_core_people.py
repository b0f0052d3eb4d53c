"""The reader `people`: a user's own images, in folders of one person each or named by a pattern."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reid_core.cli.data import main
from reid_core.data.readers import ReaderError, read

PKU = Path(os.environ.get("REID_PKU_ROOT", Path(__file__).parents[4] / "shared" / "data" / "pku-reid"))


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def test_a_folder_is_a_person_and_numbers_are_kept(tmp_path):
    touch(tmp_path, "007/a.jpg", "007/b.jpg", "12/a.jpg", "12/Thumbs.db", ".hidden/a.jpg")
    manifest = read("people", tmp_path, fraction=0)
    assert manifest.table["path"].tolist() == ["007/a.jpg", "007/b.jpg", "12/a.jpg"]
    assert manifest.pids.tolist() == [7, 7, 12] and manifest.names == {}


@pytest.mark.parametrize("people", [["1", "bob"], ["01", "1"], ["0", "5"], ["5", "9" * 20]])
def test_persons_with_names_are_numbered_in_sorted_order_and_keep_their_names(tmp_path, people):
    touch(tmp_path, *(f"{person}/{number}.jpg" for person in people for number in (1, 2)))
    manifest = read("people", tmp_path, fraction=0)
    assert manifest.names["pid"] == {1: people[0], 2: people[1]}
    for path, pid in zip(manifest.table["path"], manifest.pids, strict=True):
        assert path.startswith(f"{manifest.names['pid'][pid]}/")


def test_folders_of_a_person_are_cameras(tmp_path):
    touch(tmp_path, "1/entrance/a.jpg", "1/yard/a.jpg", "1/yard/b.jpg", "2/entrance/a.jpg")
    manifest = read("people", tmp_path, fraction=0)
    assert manifest.camids.tolist() == [1, 2, 2, 1] and manifest.names == {
        "camid": {1: "entrance", 2: "yard"}
    }
    touch(tmp_path, "2/b.jpg")
    with pytest.raises(ReaderError, match=r"2/b.jpg and .*1/entrance/a.jpg; expected a folder per person"):
        read("people", tmp_path)


@pytest.mark.parametrize(
    ("names", "cameras"),
    [
        (["0002_c1s1_000451_03", "0002_c3s1_000451_03"], [1, 3]),
        (["cam2-0001", "CAM4-0001"], [2, 4]),
        (["x_camera7", "x_camera8"], [7, 8]),
        (["0001C1T0001F001", "0001C6T0001F001"], [1, 6]),
        (["ann_01_1", "ann_02_1"], [1, 2]),
        (["bob_01_1", "bob_02_1"], [-1, -1]),  # not the folder's name
        (["c1_a", "a"], [-1, -1]),  # not all names say a camera
        (["abc1", "abc2"], [-1, -1]),
        (["1", "2"], [-1, -1]),
    ],
)
def test_cameras_are_read_off_the_names_where_all_say_one(tmp_path, names, cameras):
    touch(tmp_path, *(f"ann/{name}.jpg" for name in names))
    found = read("people", tmp_path, fraction=0)
    by_name = dict(zip(found.table["path"], found.camids, strict=True))
    assert [by_name[f"ann/{name}.jpg"] for name in names] == cameras


def test_a_pattern_says_person_camera_tracklet_and_frame_at_any_depth(tmp_path):
    names = ["x/ann-A-t1-003.jpg", "x/ann-A-t1-001.jpg", "y/bob-B-t1-002.jpg", "bob-A-t7-009.jpg"]
    touch(tmp_path, *names)
    pattern = r"(?P<pid>\w+)-(?P<camid>\w)-t(?P<tracklet>\d)-(?P<frame>\d+)"
    manifest = read("people", tmp_path, pattern=pattern, fraction=0)
    rows = manifest.table.set_index("path").loc[names]
    assert rows["pid"].tolist() == [1, 1, 2, 2] and rows["camid"].tolist() == [1, 1, 2, 1]
    assert rows["frame"].tolist() == [3, 1, 2, 9]
    tracklets = [manifest.table["path"].iloc[rows].tolist() for rows in manifest.tracklets()]
    assert sorted(map(tuple, tracklets)) == sorted([(names[1], names[0]), (names[2],), (names[3],)])
    assert manifest.names == {"pid": {1: "ann", 2: "bob"}, "camid": {1: "A", 2: "B"}}


def test_a_pattern_without_pid_leaves_the_person_to_the_folder(tmp_path):
    touch(tmp_path, "7/day/k3.jpg", "7/k1.jpg", "7/none.jpg")
    manifest = read("people", tmp_path, pattern=r"k(?P<camid>\d)|none", fraction=0)
    assert set(manifest.pids) == {7}
    assert dict(zip(manifest.table["path"], manifest.camids, strict=True)) == {
        "7/day/k3.jpg": 3,
        "7/k1.jpg": 1,
        "7/none.jpg": -1,
    }


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"(?P<pid>\d+", "is no regular expression"),
        (r"(?P<camera>\d+)", "names camera; expected some of pid, camid, tracklet, frame"),
        (r"\d+", "names no groups; expected some of pid"),
        (r"(?P<pid>\d+)x", "1/a.jpg: the name doesn't match the pattern"),
        (r"(?P<pid>\d*)", "1/a.jpg: the name doesn't match the pattern"),
        (r"(?P<pid>\w+)(?P<frame>.)", "1/a.jpg: the pattern's frame is '.'; expected a number"),
    ],
)
def test_a_bad_pattern_is_refused(tmp_path, pattern, message):
    with pytest.raises(ReaderError, match=message):
        read("people", touch(tmp_path, "1/a.jpg"), pattern=pattern)


def test_images_beside_the_persons_folders_are_named(tmp_path):
    with pytest.raises(ReaderError, match=r"there is .*/a.jpg; expected a folder per person .*or a pattern"):
        read("people", touch(tmp_path, "a.jpg"))
    with pytest.raises(FileNotFoundError, match="there is no folder .*nowhere; expected a folder per person"):
        read("people", tmp_path / "nowhere")
    with pytest.raises(ReaderError, match="holds no image"):
        read("people", touch(tmp_path / "empty", "note.txt"))


def test_one_camera_is_allowed_and_its_images_are_never_query_and_gallery_at_once(tmp_path):
    touch(tmp_path, *(f"{person}/cam1/{number}.jpg" for person in range(1, 5) for number in range(3)))
    manifest = read("people", tmp_path)
    assert set(manifest.camids) == {-1} and len(manifest.select("query")) == 2
    assert len(manifest.select("gallery")) == 4 and not manifest.table["path"].duplicated().any()


def test_stats_say_that_one_camera_answers_itself(tmp_path, capsys):
    touch(tmp_path, *(f"{person}/{number}.jpg" for person in "ab" for number in range(3)))
    assert main(["stats", "people", "--root", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert (
        "1 of 1 query images: one camera, or an unknown one (camid -1): images from the same camera may"
        in out
    )
    assert "published" not in out


@pytest.mark.skipif(not PKU.is_dir(), reason="PKU-Reid is not here: set REID_PKU_ROOT to its folder")
@pytest.mark.parametrize("place", ["{person}/{name}", "{person}/{camera}/{name}"])
def test_stats_of_pku_reid_in_folders_of_persons(tmp_path, capsys, place):
    for image in sorted((PKU / "PKUv1a_128x48").glob("*.png")):
        person, camera, _ = image.stem.split("_")
        link = tmp_path / place.format(person=person, camera=camera, name=image.name)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(image)
    assert main(["stats", "people", "--root", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "people: 992 images, 62 identities, 2 cameras, 0 tracklets"
    assert lines[1].startswith("  train: ") and ", 31 identities, 2 cameras" in lines[1]
    assert lines[-2:] == ["training: nothing is missing", "evaluation: nothing is missing"]
