"""The synthetic world written out in the layouts of real datasets."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat

from reid_core.synthetic import World, write_folder, write_market1501, write_mars

WORLD = World(identities=4, cameras=2, seed=3, height=32, width=16)


def _images(folder) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))


def test_market1501_has_the_folders_and_names_of_the_release(tmp_path):
    root = write_market1501(
        WORLD, tmp_path / "market", images_per_camera=3, distractors=3, junk=2, progress=False
    )
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        names = _images(root / folder)
        assert names and all(re.fullmatch(r"(-1|\d{4})_c\d+s\d+_\d{6}_\d{2}\.jpg", name) for name in names)

    def pids(folder: str) -> set[int]:
        return {int(name.split("_")[0]) for name in _images(root / folder)}

    assert pids("bounding_box_train") == {1, 2}
    assert pids("query") == {3, 4}
    assert pids("bounding_box_test") == {-1, 0, 3, 4}
    assert len(_images(root / "query")) == 4 and len(_images(root / "bounding_box_test")) == 8 + 3 + 2


def test_mars_has_the_folders_names_and_info_of_the_release(tmp_path):
    root = write_mars(WORLD, tmp_path / "mars", frames=3, distractors=1, progress=False)
    assert "0001/0001C1T0001F001.jpg" in _images(root / "bbox_train")
    assert {name.split("/")[0] for name in _images(root / "bbox_test")} == {"00-1", "0000", "0003", "0004"}
    for part in ("train", "test"):
        names = (root / "info" / f"{part}_name.txt").read_text().split()
        rows = loadmat(root / "info" / f"tracks_{part}_info.mat")[f"track_{part}_info"]
        assert rows.shape[1] == 4 and rows[0, 0] == 1 and rows[-1, 1] == len(names)
        for start, end, pid, camid in rows:
            for name in names[start - 1 : end]:
                label = "00-1" if pid == -1 else f"{pid:04d}"
                assert name.startswith(f"{label}C{camid}T")
                assert (root / f"bbox_{part}" / label / name).is_file()
    queries = loadmat(root / "info" / "query_IDX.mat")["query_IDX"]
    assert queries.shape[0] == 1
    asked = rows[queries[0] - 1]
    assert {(pid, camid) for _, _, pid, camid in asked} == {(3, 1), (3, 2), (4, 1), (4, 2)} and len(
        asked
    ) == 4


def test_folder_has_single_crops_and_tracklets_that_switch_person(tmp_path):
    world = World(**{**WORLD.__dict__, "switch": 1.0})
    root = write_folder(world, tmp_path / "crops", frames=6, progress=False)
    names = _images(root)
    assert sum("/" not in name for name in names) == 8
    assert sum("/" in name for name in names) == 4 * 2 * 2 * 6
    truth = pd.read_parquet(root / "truth.parquet")
    assert sorted(truth.path) == names
    tracklets = truth[truth.tracklet >= 0]
    assert (tracklets.groupby("tracklet").identity.nunique() == 2).all()
    assert (tracklets.groupby("start").video.nunique() == 4).all()


@pytest.mark.parametrize("write", [write_mars, write_folder])
def test_a_stride_skips_frames_of_the_camera(tmp_path, write):
    root = write(WORLD, tmp_path / "crops", frames=3, stride=5, progress=False)
    truth = pd.read_parquet(root / "truth.parquet")
    tracklets = truth[truth.tracklet >= 0].groupby("tracklet").frame
    assert all(sorted(frames) == [0, 5, 10] for _, frames in tracklets)


def test_truth_is_that_of_the_world(tmp_path):
    root = write_market1501(WORLD, tmp_path / "market", images_per_camera=2, truth=True, progress=False)
    truth = pd.read_parquet(root / "truth.parquet")
    points, labels = np.load(root / "truth_keypoints.npy"), np.load(root / "truth_labels.npy", mmap_mode="r")
    assert len(truth) == len(points) == len(labels) == len(_images(root))
    at = 5
    row = truth.iloc[at]
    assert row.path.split("/")[1].startswith(f"{row.identity + 1:04d}_c{row.camera + 1}s")
    crop = WORLD.render(row.identity, row.camera, tracklet=1 if "s2_" in row.path else 0, frame=row.frame)
    np.testing.assert_array_equal(points[at], crop.keypoints)
    np.testing.assert_array_equal(labels[at], crop.labels)
    image = cv2.imread(str(root / row.path))[..., ::-1].astype(int)
    assert np.abs(image - crop.image).mean() < 6


def test_labeled_layouts_have_clean_labels_whatever_the_switch_dial(tmp_path):
    world = World(**{**WORLD.__dict__, "switch": 1.0})
    root = write_mars(world, tmp_path / "mars", frames=16, distractors=0, progress=False)
    truth = pd.read_parquet(root / "truth.parquet")
    assert (truth.identity == truth.start).all()


def test_several_processes_write_the_same_bytes_as_one(tmp_path):
    one = write_market1501(WORLD, tmp_path / "one", images_per_camera=2, progress=False)
    many = write_market1501(WORLD, tmp_path / "many", images_per_camera=2, workers=2, progress=False)
    assert _images(one) == _images(many)
    assert all((one / name).read_bytes() == (many / name).read_bytes() for name in _images(one))


def test_a_root_that_is_there_is_not_touched_unless_asked(tmp_path):
    (tmp_path / "market").mkdir()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_market1501(WORLD, tmp_path / "market", progress=False)
    assert list(tmp_path.iterdir()) == [tmp_path / "market"]
    write_market1501(WORLD, tmp_path / "market", images_per_camera=2, overwrite=True, progress=False)
    assert (tmp_path / "market" / "query").is_dir()


@pytest.mark.faults
def test_an_interrupted_writer_leaves_no_root_behind(tmp_path, monkeypatch):
    def broken(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(World, "render", broken)
    with pytest.raises(KeyboardInterrupt):
        write_folder(WORLD, tmp_path / "crops", progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("train", [0, 4])
def test_a_split_without_people_is_refused(tmp_path, train):
    with pytest.raises(ValueError, match="train_identities"):
        write_market1501(WORLD, tmp_path / "market", train_identities=train, progress=False)
