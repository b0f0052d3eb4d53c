"""Detections of successive frames to tracks, by trackers of the package trackers (extra `video`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from reid_core.video.detector import Detections, Detector
from reid_core.video.frames import Frame

if TYPE_CHECKING:
    from supervision import Detections as Boxes

TRACKERS = {"bytetrack": "ByteTrackTracker", "ocsort": "OCSORTTracker", "botsort": "BoTSORTTracker"}
"""Names of trackers, and their classes: ByteTrack (Zhang et al., ECCV 2022), OC-SORT (Cao et al., CVPR 2023),
BoT-SORT (Aharon et al., 2022; without appearance, with compensation of the camera's motion)."""

SEEING = ("botsort",)
"""Those that look at the picture."""


def build_tracker(name: str, frame_rate: float) -> Any:
    """A tracker with its library's settings.

    Args:
        name: one of `TRACKERS`.
        frame_rate: frames a second that it will be given.

    Raises:
        ValueError: no such tracker.
        ImportError: the extra `video` is not installed.
    """
    if name not in TRACKERS:
        raise ValueError(f"tracker={name!r}: expected one of {', '.join(TRACKERS)}")
    try:
        import trackers
    except ImportError as error:
        raise ImportError(
            "tracking needs the package trackers; pip install av trackers supervision"
        ) from error
    return getattr(trackers, TRACKERS[name])(frame_rate=frame_rate)


def detect_frames(
    frames: Iterator[Frame], detect: Detector, batch: int
) -> Iterator[tuple[Frame, Detections]]:
    """Each frame with its persons; the next frames are decoded while the detector works.

    Args:
        frames: of one video.
        detect: frames -> boxes and scores of each.
        batch: frames that the detector gets at a time.

    Raises:
        ValueError: the detector returns something else.
    """
    for chunk in _chunks_ahead(frames, batch):
        yield from zip(chunk, _detect(detect, chunk), strict=True)


def track_boxes(
    detected: Iterable[tuple[Frame, Detections]], tracker: str = "bytetrack", every: int = 1
) -> Iterator[tuple[Frame, Boxes]]:
    """Each frame with its tracked boxes (`tracker_id`, -1 for a box that is on no track).

    Args:
        detected: frames of one video in their order, and their persons.
        tracker: one of `TRACKERS`.
        every: 2 where they are every second frame of the video, and so on.
    """
    from supervision import Detections as Boxes

    tracks = None
    for frame, found in detected:
        tracks = tracks or build_tracker(tracker, frame.rate / every)
        boxes = Boxes(xyxy=found.boxes, confidence=found.scores)
        yield frame, tracks.update(boxes, frame.image if tracker in SEEING else None)


def _chunks_ahead(frames: Iterator[Frame], size: int) -> Iterator[list[Frame]]:
    """The frames in lists of a size, the next of which is decoded while one is worked on."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(lambda: list(islice(frames, size)))
        while chunk := coming.result():
            coming = pool.submit(lambda: list(islice(frames, size)))
            yield chunk


def _detect(detect: Detector, chunk: Sequence[Frame]) -> list[Detections]:
    """The detector's boxes and scores, checked: it may be anybody's."""
    found = detect([frame.image for frame in chunk])
    if len(found) != len(chunk):
        raise ValueError(
            f"the detector returned {len(found)} results for {len(chunk)} frames; expected one each"
        )
    checked = []
    for frame, given in zip(chunk, found, strict=True):
        try:
            boxes, scores = (np.asarray(part, dtype=np.float32) for part in given)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"the detector returned {str(given)[:80]} for frame {frame.number}; expected boxes and scores"
            ) from error
        boxes = boxes.reshape(-1, 4) if boxes.size == 0 else boxes
        if boxes.shape != (len(scores), 4) or scores.ndim != 1:
            raise ValueError(
                f"the detector returned boxes {boxes.shape} and scores {scores.shape} for frame "
                f"{frame.number}; expected [n 4] and [n]"
            )
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            raise ValueError(
                f"the detector returned boxes or scores that are not finite, frame {frame.number}"
            )
        checked.append(Detections(boxes, scores))
    return checked
