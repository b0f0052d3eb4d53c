"""`reid-gallery track`."""

from __future__ import annotations

from typing import Literal

from reid_core.options import Options


def track(
    video: str,
    boxes: str,
    out: str,
    *,
    model: str,
    preprocessing: Options | None = None,
    margin: float = 0.0,
    min_confidence: float = 0.0,
    tracker: Literal["bytetrack", "ocsort", "botsort"] | None = None,
    device: str = "auto",
) -> int:
    """Embed the boxes of a video: a feature per box, and per track its mean feature.

    Writes boxes.parquet and boxes.npy, one row per box in the order of the file, and tracks.parquet and
    tracks.npy, one row per track (extra track).

    Args:
        video: video file to track people in.
        boxes: MOT challenge's text file: frame, track (-1 where unknown), left, top, width, height,
            confidence; frames and pixels from 1, and from 0 in what is written.
        out: folder to write the tracklets to.
        model: model folder, hub's id or exported file.
        preprocessing: settings of an exported file without config.json, such as --preprocessing.max_value 255
        margin: added to a box on each side, as a share of its width and height.
        min_confidence: least confidence, in the file's own scale, of the boxes that are used.
        tracker: numbers the tracks in place of the file: bytetrack, ocsort or botsort (package trackers).
        device: where the model runs: auto (a GPU if there is one), cpu or cuda; an exported one runs on the
            CPU.
    """
    from pathlib import Path

    from reid_core.models import load
    from reid_core.video import read_mot
    from reid_gallery.tracks import embed_video, write_features

    rows = read_mot(boxes)
    rows = rows[rows["score"] >= min_confidence].reset_index(drop=True)
    if not Path(video).is_file():
        raise FileNotFoundError(f"{video}: there is no such video")
    found = embed_video(load(model, **(preprocessing or {})), video, rows, margin, tracker, device)
    tracks = write_features(found, Path(out))
    print(f"{out}: {len(found.rows)} boxes, {int((~found.valid).sum())} beside the frame, {tracks} tracks")
    return 0
