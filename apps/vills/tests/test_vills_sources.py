"""What is pre-trained on: folders of cities, packed shards, tracks of raw video, regions made elsewhere."""

import shutil
import subprocess
import sys
import warnings

import av
import numpy as np
import pytest
import torch

from reid_core.data.packing import pack
from reid_core.data.readers import read
from reid_core.recipe import run
from reid_core.training.checkpoints import read_checkpoint
from reid_core.video import extract_tracklets
from reid_lse import SavedMasks
from vills.cli import main
from vills.config import Config
from vills.data import load_pool
from vills.recipe import RECIPE
from vills.sources import Count, find_lacks

ONE_STEP = ["--pretrain.train.steps", "1", "--data.image", "null", "--data.video", "null"]
ONE_STEP += ["--data.same_people", "false", "--data.synthetic", "null"]
HEIGHT, WIDTH, FRAMES = 64, 96, 12


def pre_train(tiny, source, name):
    """One step on a source alone -> the configuration, and the pool that was drawn from."""
    options = ["--data.pretrain", f"[{source}]", "--name", name, *ONE_STEP]
    config = tiny.config(*options)
    summaries = run(RECIPE, config)
    assert summaries["pretrain"]["steps"] == 1 and summaries["pretrain"]["unreadable"] == 0
    job = tiny.job("pretrain", config, prepared=config.folder / "prepare")
    return config, load_pool(job, job.section.pool)


def test_packed_shards_are_a_source_with_the_folders_images_and_videos(tiny, tmp_path):
    rows = read("folder", tiny.data / "folder")
    pack(rows, tmp_path / "shards", progress=False)
    _, packed = pre_train(tiny, f"{{name: {tmp_path}/shards/manifest.parquet}}", "packed")
    assert packed.rows == len(rows) and len(packed.videos) == len(rows.tracklets())
    assert len(packed.images) == len(rows) - sum(map(len, rows.tracklets()))
    assert ".tar/" in packed.file(0)


@pytest.fixture()
def cities(tiny, tmp_path):
    """Images as LUPerson keeps them, country/city/*.jpg."""
    city = tmp_path / "luperson" / "de" / "berlin"
    city.mkdir(parents=True)
    for image in sorted((tiny.data / "folder").rglob("*.jpg"))[:3]:
        shutil.copy(image, city)
    return city


def test_what_pre_training_draws_from_is_said_and_images_of_labelled_data_alone_are_warned_of(
    tiny, cities, capsys
):
    command = ["prepare", *tiny.on_disk, "--name", "cities", "--data.pretrain"]
    with pytest.warns(UserWarning, match=r"labelled data alone \(data.image\): all others are frames"):
        assert main([*command, f"[{{name: folder, root: {cities.parents[1]}}}]"]) == 0
    assert "pre-training draws from data.pretrain.0: 0 images, 1 videos" in capsys.readouterr().err
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main([*command, f"[{{name: luperson, root: {cities.parents[1]}}}]"]) == 0
    assert "pre-training draws from data.pretrain.0: 3 images, 0 videos" in capsys.readouterr().err


def test_a_new_image_deep_in_a_city_is_noticed(tiny, cities, capsys):
    command = ["prepare", *tiny.on_disk, "--name", "grown", "--data.pretrain"]
    command.append(f"[{{name: luperson, root: {cities.parents[1]}}}]")
    assert main(command) == 0
    shutil.copy(next(cities.iterdir()), cities / "new.jpg")
    capsys.readouterr()
    assert main(command) == 0
    assert "data.pretrain.0: 4 images" in capsys.readouterr().err


def test_batches_that_no_source_can_fill_are_warned_of():
    both = {"data.pretrain.0": Count(0, 5), "data.pretrain.1": Count(0, 2)}
    assert "image_batch=128, but no source has a single image" in find_lacks(Config(), both)[0]
    assert find_lacks(Config(), {"data.pretrain.0": Count(3, 0)}) == [
        "pretrain.video_batch=32, but no source has a video"
    ]


def bright(frames):
    """A person is what is bright: one box per frame, as a detector gives it."""
    for frame in frames:
        down, right = np.nonzero(frame.mean(2) > 128)
        yield np.array([[right.min(), down.min(), right.max() + 1, down.max() + 1]], float), np.array([0.9])


@pytest.fixture()
def videos(tmp_path):
    """A folder of one video, in which one person walks."""
    (tmp_path / "videos").mkdir()
    with av.open(str(tmp_path / "videos" / "walk.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for frame in range(FRAMES):
            image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            image[8:56, 10 + 2 * frame : 34 + 2 * frame] = 230
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return tmp_path / "videos"


def test_tracklets_out_of_raw_video_are_a_source(tiny, tmp_path, videos):
    tracks = extract_tracklets(
        videos, tmp_path / "tracks", lambda frames: list(bright(frames)), progress=False
    )
    source = f"{{name: {tmp_path}/tracks/manifest.parquet}}"
    _, pool = pre_train(tiny, source, "raw")
    assert not len(pool.images) and [len(rows) for rows in pool.videos] == [len(tracks)]


def test_raw_video_is_tracked_by_a_stage_and_pre_trained_on(tiny, tmp_path, videos, monkeypatch):
    monkeypatch.setattr(
        "reid_core.video.PersonDetector", lambda weights, device: lambda frames: list(bright(frames))
    )
    (tmp_path / "detector.pth").write_bytes(b"weights")
    options = ["--data.pretrain", "[]", "--name", "tracked", *ONE_STEP, "--data.raw.root", str(videos)]
    with pytest.raises(FileNotFoundError, match=r"data.raw.detector: there is no file ''"):
        RECIPE.check(tiny.config(*options))
    config = tiny.config(*options, "--data.raw.detector", str(tmp_path / "detector.pth"))
    summaries = run(RECIPE, config)
    assert summaries["tracklets"]["tracklets"] == 1 and summaries["pretrain"]["videos"] == 1
    assert summaries["lse"]["images"] == summaries["tracklets"]["images"] > config.pretrain.frames
    assert summaries["pretrain"]["sources"] == ["raw video"] and summaries["pretrain"]["steps"] == 1
    images = tiny.config(*options, "--pretrain.video_batch", "0")
    assert "tracklets" not in {stage.name for stage in RECIPE.stages(images)}


@pytest.mark.slow
def test_regions_that_two_processes_made_train_as_those_of_one(tiny, tmp_path):
    images = tiny.data / "folder"
    command = [sys.executable, "-m", "reid_lse.cli", "extract", str(images)]
    command += ["--workers", "1", "--shard", "8"]
    halves = [[str(tmp_path / "two"), "--parts", "2", "--part", part] for part in "01"]
    processes = [subprocess.Popen([*command, *half]) for half in [[str(tmp_path / "one")], *halves]]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert len(SavedMasks(tmp_path / "two").shards) > 2
    teachers = []
    for name in ("one", "two"):
        source = f"{{name: folder, root: {images}, regions: {tmp_path / name}}}"
        config, _ = pre_train(tiny, source, name)
        assert not (config.folder / "lse").exists()
        teachers.append(read_checkpoint(config.folder / "pretrain" / "teacher.pt")["state_dict"])
    assert all(torch.equal(teachers[0][name], weights) for name, weights in teachers[1].items())


def test_a_source_without_the_folder_of_regions_that_is_asked_for_is_refused(tiny):
    source = f"{{name: folder, root: {tiny.data / 'folder'}, regions: {{ism: {tiny.data}}}}}"
    config = tiny.config("--data.pretrain", f"[{source}]", *ONE_STEP, "--pretrain.regions", "parsing")
    with pytest.raises(ValueError, match=r"data.pretrain.0.regions=\{parsing: FOLDER\}"):
        RECIPE.check(config)
