"""Boxes in frames and videos: each gets the feature of its crop, tracks their mean, faults their names."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from reid_core.models import Embedder, Preprocessing, load
from reid_gallery.boxes import box_embedder, crop, embed, embed_detections
from reid_gallery.cli import main

HEIGHT, WIDTH, FRAMES = 96, 128, 8  # as in the fixture video
FRAME = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def colours() -> Embedder:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Embedder(network, Preprocessing((16, 8), mean=(0, 0, 0), std=(1, 1, 1)), metric="euclidean")


def test_a_box_has_the_feature_of_its_crop() -> None:
    boxes = np.array([[3, 5, 40, 90], [50.4, 10, 70, 60.6], [200, 5, 240, 50]])
    found = embed(colours(), FRAME, boxes)
    expected = colours().embed([FRAME[5:90, 3:40], FRAME[10:61, 50:70]])
    np.testing.assert_allclose(found.features[:2], expected, atol=1e-6)
    assert found.valid.tolist() == [True, True, False] and not found.features[2].any()


def test_no_boxes_give_no_features() -> None:
    assert embed(colours(), FRAME, np.empty((0, 4))).features.shape == (0, 3)


@pytest.mark.parametrize(
    "frame, boxes, message",
    [
        (FRAME[..., 0], np.zeros((1, 4)), "frame is uint8"),
        (FRAME, np.zeros((1, 5)), r"boxes are \(1, 5\)"),
        (FRAME, np.full((1, 4), np.nan), "expected finite"),
    ],
)
def test_what_is_no_frame_or_box_is_refused(frame, boxes, message) -> None:
    with pytest.raises(ValueError, match=message):
        embed(colours(), frame, boxes)


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.floats(-200, 300)] * 4), st.floats(0, 0.5))
def test_a_crop_is_within_the_frame_or_nothing(box, margin) -> None:
    part = crop(FRAME, np.array(box), margin)
    assert part is None or (1 <= part.shape[0] <= HEIGHT and 1 <= part.shape[1] <= WIDTH)


def test_detections_of_supervision_carry_features_through_a_tracker(tmp_path, save_model) -> None:
    supervision = pytest.importorskip("supervision", reason="extra track")
    trackers = pytest.importorskip("trackers", reason="extra track")
    model = save_model(tmp_path / "model", 0)
    boxes = np.array([[3, 5, 40, 90], [50, 10, 70, 60]], dtype=np.float32)
    detections = supervision.Detections(xyxy=boxes, confidence=np.array([0.9, 0.9], dtype=np.float32))
    tracked = trackers.ByteTrackTracker().update(embed_detections(load(model), FRAME, detections))
    expected = box_embedder(model)(FRAME[..., ::-1], tracked.xyxy)
    np.testing.assert_allclose(tracked.data["features"], expected, atol=1e-5)


@pytest.mark.parametrize("tracker", [None, "bytetrack"])
def test_a_video_s_boxes_and_tracks_have_features(tmp_path, video, write_boxes, save_model, tracker) -> None:
    model, out = save_model(tmp_path / "model", 0), tmp_path / "out"
    boxes = write_boxes(tmp_path / "boxes.txt", lambda number: -1 if tracker else number)
    given = ["track", str(video), boxes, str(out), "--model", str(model)]
    assert main([*given, "--tracker", tracker] if tracker else given) == 0
    rows, features = pd.read_parquet(out / "boxes.parquet"), np.load(out / "boxes.npy")
    tracks, means = pd.read_parquet(out / "tracks.parquet"), np.load(out / "tracks.npy")
    assert rows["valid"].all() and features.shape == (2 * FRAMES, 128) and len(tracks) == 2
    for track, mean in zip(tracks["track"], means, strict=True):
        own = features[(rows["track"] == track).to_numpy()]
        np.testing.assert_allclose(mean, own.mean(0) / np.linalg.norm(own.mean(0)), atol=1e-5)
        assert rows.loc[rows["track"] == track, "left"].nunique() == 1  # one person each


def test_boxes_of_another_video_are_refused(tmp_path, video, save_model, capsys) -> None:
    model = save_model(tmp_path / "model", 0)
    (tmp_path / "boxes.txt").write_text("99,1,5,5,20,40,1\n")
    given = ["track", str(video), str(tmp_path / "boxes.txt"), str(tmp_path / "out"), "--model", str(model)]
    assert main(given) == 1
    assert "has 8 frames, but there are boxes of frame 99" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
