"""The tracklets stage: raw video -> tracklets of the persons in it, which are pre-trained on as videos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reid_core.recipe import Job, track_videos

VIDEOS, DETECTOR = "raw", "detector"


@dataclass(frozen=True)
class Tracking:
    """What the stage gets.

    Attributes:
        confidence: least mean score of a kept track's boxes.
        min_frames: shortest tracklet that is kept.
    """

    confidence: float
    min_frames: int


def track_persons(job: Job) -> dict[str, Any]:
    """Cut the tracklets of persons out of all videos.

    Args:
        job: its section is a `Tracking`; it watches the folder of videos and has the detector's weights; its
            folder gets crops/, as `reid_core.recipe.track_videos` writes it.

    Returns:
        Numbers of images and tracklets.

    Raises:
        ValueError: no person is seen long enough.
    """
    from reid_core.video import TrackletConfig

    section: Tracking = job.section
    limits = TrackletConfig(confidence=section.confidence, min_frames=section.min_frames)
    found = track_videos(job, job.watched[VIDEOS], job.files[DETECTOR], limits)
    tracklets = len(found.tracklets())
    if not tracklets:
        raise ValueError(
            f"{job.watched[VIDEOS]}: no person is seen in {section.min_frames} frames with confidence "
            f"{section.confidence}; lower data.raw.min_frames or data.raw.confidence"
        )
    return {"images": len(found), "tracklets": tracklets}
