"""Raw video to tracklets, on videos of the synthetic world whose truth a stand-in detector reads."""

from __future__ import annotations

import shutil
from functools import cache
from types import SimpleNamespace

import av
import numpy as np
import pandas as pd
import pytest
import torch

from reid_core.cli.data import main
from reid_core.data.datasets import TrackletDataset
from reid_core.data.decoding import read_image
from reid_core.data.manifest import Manifest
from reid_core.data.storage import StorageGone
from reid_core.processes import Runtime
from reid_core.recipe import track_videos
from reid_core.synthetic import World
from reid_core.video import (
    Detections,
    PersonDetector,
    TrackletConfig,
    UnreadableVideo,
    extract_tracklets,
    find_videos,
    read_frames,
    unreadable_videos,
)
from reid_core.video import detector as detectors

HEIGHT, WIDTH, FRAMES, BLOCK = 96, 192, 20, 8
WORLD = World(identities=6, cameras=1, height=64, width=32)
HIDDEN = range(8, 11)
"""Frames in which nobody sees the second person."""
WHOLE = TrackletConfig(margin=0.0)


def persons(frame):
    """(place, left, top, score) of the persons there: one clear, one hidden for a while, one doubtful."""
    shown = [
        (0, 20 + frame, 16, 0.95),
        (1, 90 - frame, 20, 0.9),
        (2, 150, 24 - frame // 4, (0.9, 0.6)[frame % 2]),
    ]
    return [person for person in shown if not (person[0] == 1 and frame in HIDDEN)]


@cache
def crop(who, frame):
    return WORLD.render(who, 0, 0, frame).image


def picture(video, frame):
    """The scene, with the frame's number in black and white blocks along its upper edge."""
    image = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    for bit in range(8):
        image[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 255 * (frame >> bit & 1)
    for place, left, top, _ in persons(frame):
        image[top : top + 64, left : left + 32] = crop(3 * video + place, frame)
    return image


def write_video(path, video, codec="mpeg4"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, "yuv420p", 4_000_000
        for frame in range(FRAMES):
            shown = av.VideoFrame.from_ndarray(picture(video, frame), format="rgb24")
            container.mux(stream.encode(shown))
        container.mux(stream.encode())
    return path


def detect(frames):
    """Reads the frame's number off the picture, and the truth by it."""
    found = []
    for image in frames:
        blocks = image[:BLOCK, : 8 * BLOCK].reshape(BLOCK, 8, BLOCK, 3).mean((0, 2, 3)) > 128
        shown = persons(int(blocks @ (1 << np.arange(8))))
        boxes = [(left, top, left + 32, top + 64) for _, left, top, _ in shown]
        found.append(Detections(np.array(boxes, float), np.array([score for *_, score in shown])))
    return found


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    write_video(root / "a.mp4", 0)
    write_video(root / "street" / "b.mkv", 1)
    (root / "broken.mp4").write_bytes((root / "a.mp4").read_bytes()[:2000])
    (root / "notes.txt").write_text("no video")
    return root


@pytest.fixture(scope="module")
def whole(videos, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    return out, extract_tracklets(videos, out, detect, WHOLE, progress=False)


def test_frames_come_in_order_with_their_numbers(videos):
    frames = list(read_frames(videos / "a.mp4", every=3))
    assert [frame.number for frame in frames] == list(range(0, FRAMES, 3))
    assert frames[0].rate == 10 and frames[0].image.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(frames[2].image.astype(int) - picture(0, 6)).mean() < 6


@pytest.mark.faults
def test_a_file_that_is_no_video_is_unreadable_and_named(videos):
    for name in ("broken.mp4", "notes.txt", "none.mp4"):
        with pytest.raises(UnreadableVideo, match=name):
            list(read_frames(videos / name))


def test_tracks_over_the_confidence_become_tracklets_of_one_person_each(whole):
    out, manifest = whole
    assert set(manifest.table["split"]) == {"unlabeled"} and set(manifest.table["video"]) == {0, 2}
    assert len(manifest.tracklets()) == 4  # two persons a video; the doubtful one's mean score is 0.75
    for rows in manifest.tracklets():
        table = manifest.table.iloc[rows]
        video = int(table["video"].iloc[0]) // 2
        frames = table["frame"].tolist()
        read = [read_image(manifest.root / path).permute(1, 2, 0).numpy() for path in table["path"]]
        shown = dict(zip(frames, read, strict=True))
        errors = [
            np.mean([np.abs(image.astype(int) - crop(who, f)).mean() for f, image in shown.items()])
            for who in range(6)
        ]
        who = int(np.argmin(errors))
        assert who in (3 * video, 3 * video + 1) and errors[who] < 10
        # ByteTrack takes a track for one from its second frame on, and keeps it where its person is hidden
        assert frames == [f for f in range(1, FRAMES) if who % 3 == 0 or f not in HIDDEN]


def test_the_manifest_is_on_disk_and_gives_clips(whole):
    out, manifest = whole
    assert Manifest.load(out / "manifest.parquet").digest == manifest.digest
    assert TrackletDataset(manifest, frames=8)[0]["clip"].shape == (8, 3, 64, 32)
    boxes = pd.read_parquet(out / "a.mp4" / "boxes.parquet")
    assert boxes.loc[0, ["left", "top", "right", "bottom"]].tolist() == [21, 16, 53, 80]


@pytest.mark.faults
def test_an_unreadable_video_is_skipped_and_said(whole, videos):
    out, _ = whole
    broken = unreadable_videos(out, videos)
    assert list(broken) == ["broken.mp4"] and "can't be read as a video" in broken["broken.mp4"]


def test_margin_widens_the_crop_within_the_picture(videos, tmp_path):
    manifest = extract_tracklets(
        videos, tmp_path / "out", detect, TrackletConfig(margin=0.25), progress=False
    )
    sizes = {tuple(read_image(file).shape[1:]) for file in manifest.files}
    assert (16 + 64 + 16, 48) in sizes  # 16 above, of which all is there; below as much as the picture has


def test_short_tracks_and_lower_confidence_are_settings(videos, tmp_path):
    config = TrackletConfig(min_frames=FRAMES - 1, confidence=0.7, margin=0.0)
    manifest = extract_tracklets(videos, tmp_path / "out", detect, config, progress=False)
    assert [len(rows) for rows in manifest.tracklets()] == [FRAMES - 1] * 4  # the hidden one is too short


@pytest.mark.faults
def test_videos_renamed_away_stop_the_work_and_it_resumes(videos, whole, tmp_path):
    root, away = tmp_path / "videos", tmp_path / "away"
    shutil.copytree(videos, root)

    def renames(frames):
        if root.exists():
            root.rename(away)
        return detect(frames)

    with pytest.raises(
        StorageGone, match="videos: the folder of the videos is gone .*the same command resumes"
    ):
        extract_tracklets(root, tmp_path / "out", renames, WHOLE, progress=False)
    assert not list((tmp_path / "out").rglob("unreadable.txt"))
    away.rename(root)
    resumed = extract_tracklets(root, tmp_path / "out", detect, WHOLE, progress=False)
    assert resumed.digest == whole[1].digest


class Killed(Exception):
    pass


@pytest.mark.faults
def test_work_that_was_cut_off_goes_on_with_the_next_video(videos, whole, tmp_path):
    seen = []

    def dies(frames):
        seen.append(len(frames))
        if len(seen) == 5:  # in the second video that can be read
            raise Killed
        return detect(frames)

    with pytest.raises(Killed):
        extract_tracklets(videos, tmp_path / "out", dies, WHOLE, progress=False)
    assert (tmp_path / "out" / "a.mp4" / "boxes.parquet").exists()
    assert not list((tmp_path / "out").rglob("*.partial"))
    calls = []
    manifest = extract_tracklets(
        videos, tmp_path / "out", lambda frames: calls.append(1) or detect(frames), WHOLE, progress=False
    )
    assert len(calls) == 3 and manifest.digest == whole[1].digest  # 20 frames in eights: one video


def test_processes_share_the_videos(videos, whole, tmp_path):
    for part in (0, 1):
        manifest = extract_tracklets(videos, tmp_path, detect, WHOLE, part=part, parts=2, progress=False)
    assert manifest.digest == whole[1].digest


def test_each_process_of_a_stage_tracks_a_share_and_all_get_the_whole(videos, whole, tmp_path, monkeypatch):
    monkeypatch.setattr("reid_core.video.PersonDetector", lambda weights, device: detect)
    job = SimpleNamespace(folder=tmp_path, runtime=Runtime(accelerator="cpu"))
    found = []
    for rank in (2, 1, 0):
        monkeypatch.setattr("reid_core.recipe.tracklets.ranks", lambda runtime, rank=rank: (rank, 3))
        found.append(track_videos(job, videos, tmp_path / "weights.pth", WHOLE))
    assert 0 < len(found[0]) < len(whole[1]) and found[2].digest == whole[1].digest
    assert found[2].root == tmp_path / "crops"


def test_a_folder_begun_with_other_settings_is_refused(videos, whole):
    with pytest.raises(ValueError, match='was begun with .*"confidence": 0.8.*name another folder'):
        extract_tracklets(videos, whole[0], detect, TrackletConfig(confidence=0.9), progress=False)


def test_bad_settings_are_refused(videos, tmp_path):
    with pytest.raises(ValueError, match="confidence=1.5"):
        TrackletConfig(confidence=1.5)
    with pytest.raises(FileNotFoundError, match="is no folder with videos"):
        find_videos(tmp_path)
    with pytest.raises(ValueError, match="1 results for 8 frames"):
        extract_tracklets(videos, tmp_path / "out", lambda frames: detect(frames[:1]), progress=False)


def test_the_command_takes_a_detector_of_ones_own(videos, whole, tmp_path, capsys, monkeypatch):
    (tmp_path / "of_my_own.py").write_text("def detect(frames):\n    return TRUTH(frames)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import of_my_own  # pants: no-infer-dep

    of_my_own.TRUTH = detect
    command = ["tracklets", str(videos), str(tmp_path / "out"), "--margin", "0"]
    assert main([*command, "--detector", "of_my_own.detect"]) == 0
    out = capsys.readouterr().out
    assert "broken.mp4: can't be read" in out
    assert f"4 tracklets, {len(whole[1])} images; 1 unreadable videos" in out
    assert main(command) == 1
    assert "--weights, or a --detector" in capsys.readouterr().err


class Tiny(torch.nn.Module):
    """In place of a network of torchvision: finds a person and a thing in each picture."""

    def __init__(self):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images):
        boxes = torch.tensor([[0.0, 0, 4, 8], [1, 1, 2, 2]]) + self.shift
        labels, scores = torch.tensor([1, 3]), torch.tensor([0.9, 0.8])
        return [{"boxes": boxes * image.max(), "labels": labels, "scores": scores} for image in images]


def test_torchvisions_detector_is_filled_from_a_file_and_gives_persons_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(detectors, "get_model", lambda *_, **__: Tiny())
    torch.save({"shift": torch.ones(1)}, tmp_path / "weights.pth")
    found = PersonDetector(tmp_path / "weights.pth", device="cpu")([np.full((8, 8, 3), 255, np.uint8)])
    assert found[0].boxes.tolist() == [[1, 1, 5, 9]] and found[0].scores.tolist() == pytest.approx([0.9])
    torch.save({"other": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="other.pth doesn't hold the weights of fasterrcnn_resnet50_fpn_v2"):
        PersonDetector(tmp_path / "other.pth")
    with pytest.raises(FileNotFoundError, match="none.pth"):
        PersonDetector(tmp_path / "none.pth")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="torch sees no GPU here"):
            PersonDetector(tmp_path / "weights.pth", device="cuda:0")
    with pytest.raises(ValueError, match="no detector of torchvision is named 'yolo'"):
        PersonDetector(tmp_path / "weights.pth", "yolo")


@pytest.mark.slow
def test_a_real_detector_of_torchvision_runs_on_a_video(videos):
    network = "fasterrcnn_mobilenet_v3_large_320_fpn"
    torch.manual_seed(0)
    weights = videos / "weights.pth"
    torch.save(detectors.get_model(network, weights=None, weights_backbone=None).state_dict(), weights)
    frames = [next(read_frames(videos / "a.mp4")).image] * 2
    found = PersonDetector(weights, network, "cpu")(frames)
    assert len(found) == 2 and all(one.boxes.shape == (len(one.scores), 4) for one in found)
