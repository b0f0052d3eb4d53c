"""A tracker plug-in: ByteTrack of `trackers` on detections that carry features, then tracks rejoined by them.

    python examples/track_with_appearance.py VIDEO BOXES MODEL OUT.txt

BOXES is a MOT challenge file of detections (frame,-1,left,top,width,height,confidence); any detector's boxes
do, as `supervision.Detections`. MODEL is a model folder, or an exported file with its config.json. A track
that begins after another has ended is the same person where their mean features are close enough.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import supervision as sv
from scipy.optimize import linear_sum_assignment
from trackers import ByteTrackTracker

from reid_core.models import load
from reid_core.video import read_mot, write_mot
from reid_core.video.frames import read_frames
from reid_gallery.boxes import embed_detections

SIMILARITY = 0.6
"""Least cosine of two tracks' mean features; `reid-gallery calibrate` finds one for your model."""
GAP = 50
"""Frames that a person may be away."""


def detections_of(rows: pd.DataFrame) -> sv.Detections:
    """A frame's boxes as supervision has them."""
    corners = rows[["left", "top", "right", "bottom"]].to_numpy(np.float32)
    return sv.Detections(xyxy=corners, confidence=rows["score"].to_numpy(np.float32))


def rejoin(tracks: pd.DataFrame, means: np.ndarray) -> dict[int, int]:
    """New number of each track: that of the one it continues, where there is one.

    Args:
        tracks: a row per track with its number, first and last frame.
        means: float [t d], mean features of unit length.
    """
    gaps = tracks["first"].to_numpy()[None] - tracks["last"].to_numpy()[:, None]
    possible = (gaps > 0) & (gaps <= GAP)
    similarity = np.where(possible, means @ means.T, -1.0)
    before, after = linear_sum_assignment(-np.maximum(similarity, SIMILARITY))
    number = dict(zip(tracks["track"], tracks["track"], strict=True))
    for one, other in sorted(zip(before, after, strict=True), key=lambda pair: tracks["first"].iat[pair[1]]):
        if similarity[one, other] >= SIMILARITY:
            number[tracks["track"].iat[other]] = number[tracks["track"].iat[one]]
    return number


def main() -> None:
    """Track, rejoin, and write MOT challenge's format."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("video", "boxes", "model"):
        parser.add_argument(name)
    parser.add_argument("out", type=Path)
    parser.add_argument("--min_confidence", type=float, default=0.3)
    arguments = parser.parse_args()

    embedder = load(arguments.model)
    boxes = read_mot(arguments.boxes)
    boxes = boxes[boxes["score"] >= arguments.min_confidence]
    frames = dict(tuple(boxes.groupby("frame")))
    tracker, rows, features = None, [], []
    for frame in read_frames(arguments.video):
        if frame.number > max(frames):
            break
        tracker = tracker or ByteTrackTracker(frame_rate=frame.rate)
        detections = detections_of(frames.get(frame.number, boxes.iloc[:0]))
        found = tracker.update(embed_detections(embedder, frame.image[..., ::-1], detections))
        for row in range(len(found)):
            if found.tracker_id[row] >= 0:
                place = (frame.number, int(found.tracker_id[row]), *found.xyxy[row].tolist())
                rows.append((*place, float(found.confidence[row])))
                features.append(found.data["features"][row])
    table = pd.DataFrame(rows, columns=boxes.columns)
    groups = table.groupby("track")
    tracks = groups["frame"].agg(first="min", last="max").reset_index()
    means = np.array([np.mean([features[row] for row in own], axis=0) for own in groups.groups.values()])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    number_of = rejoin(tracks, means)
    write_mot(arguments.out, table.assign(track=table["track"].map(number_of)))
    print(
        f"{arguments.out}: {len(table)} boxes, {len(tracks)} tracks, {len(set(number_of.values()))} rejoined"
    )


if __name__ == "__main__":
    main()
