"""Boxes as the MOT challenge's text, and trackers by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reid_core.video import TRACKERS, Detections, MotError, build_tracker, read_mot, track_boxes, write_mot
from reid_core.video.frames import Frame


def test_detections_are_read_from_frame_and_pixel_0(tmp_path: Path) -> None:
    file = tmp_path / "det.txt"
    file.write_text(
        "2,-1,11,21,10,20,0.5,-1,-1,-1\n\n1,-1,1,1,5,6,0.9\n1,4,1,1,5,6\n1,-1,1,1,0,6,0.9\n3,1,1,1,5,5,0\n"
    )
    boxes = read_mot(file)
    assert boxes["frame"].tolist() == [0, 0, 1]
    assert boxes["track"].tolist() == [-1, 4, -1] and boxes["score"].tolist() == [0.9, 1.0, 0.5]
    assert boxes.iloc[2][["left", "top", "right", "bottom"]].tolist() == [10, 20, 20, 40]


@pytest.mark.parametrize("line", ["0,-1,1,1,5,5,1", "1,-1,1,1,5", "1,-1,x,1,5,5,1", "1,-1,nan,1,5,5,1"])
def test_another_line_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "det.txt"
    file.write_text(f"1,-1,1,1,5,5,1\n{line}\n")
    with pytest.raises(MotError, match="det.txt, line 2"):
        read_mot(file)


def test_written_boxes_are_read_as_they_were(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    corner, size = rng.integers(0, 500, (20, 2)), rng.integers(1, 200, (20, 2))
    columns = {"frame": np.arange(20), "track": rng.integers(0, 9, 20)}
    columns |= dict(
        zip(("left", "top", "right", "bottom"), np.hstack([corner, corner + size]).T, strict=True)
    )
    boxes = pd.DataFrame(columns | {"score": np.round(rng.uniform(0.1, 1, 20), 4)})
    write_mot(tmp_path / "sub" / "a.txt", boxes)
    pd.testing.assert_frame_equal(read_mot(tmp_path / "sub" / "a.txt"), boxes, check_dtype=False)


@pytest.mark.parametrize("name", TRACKERS)
def test_every_tracker_follows_two_people(name: str) -> None:
    pytest.importorskip("trackers")
    texture = np.random.default_rng(0).integers(0, 255, (120, 200, 3), dtype=np.uint8)

    def detected():  # type: ignore[no-untyped-def]
        for number in range(12):
            left = np.array([[10 + 2 * number], [150 - 2 * number]], dtype=np.float32)
            boxes = np.hstack([left, left * 0 + 20, left + 30, left * 0 + 100])
            yield Frame(number, 10.0, texture), Detections(boxes, np.full(2, 0.95, np.float32))

    tracks = [found.tracker_id.tolist() for _, found in track_boxes(detected(), name)]
    assert tracks[-1] == tracks[-2] and len({one for one in tracks[-1] if one >= 0}) == 2


def test_an_unknown_tracker_is_refused() -> None:
    with pytest.raises(ValueError, match="tracker='sort-of': expected one of bytetrack"):
        build_tracker("sort-of", 25.0)
