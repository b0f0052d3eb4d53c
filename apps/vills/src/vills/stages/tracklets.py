"""The tracklets stage: raw video -> tracklets of the persons in it, which are pre-trained on as videos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reid_core.data.manifest import Manifest
from reid_core.recipe import Job

STAGE = "tracklets"
VIDEOS, DETECTOR = "raw", "detector"
CROPS_FOLDER = "crops"


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
    """Cut the tracklets of persons out of all videos; interrupted and called again, it resumes.

    Args:
        job: its section is a `Tracking`; it watches the folder of videos and has the detector's weights; its
            folder gets crops/, as `reid_core.video.extract_tracklets` writes it.

    Returns:
        Numbers of images and tracklets.

    Raises:
        ValueError: no person is seen long enough.
    """
    from reid_core.video import PersonDetector, TrackletConfig, extract_tracklets

    section: Tracking = job.section
    limits = TrackletConfig(confidence=section.confidence, min_frames=section.min_frames)
    detector = PersonDetector(job.files[DETECTOR])
    found = extract_tracklets(job.watched[VIDEOS], job.folder / CROPS_FOLDER, detector, limits)
    tracklets = len(found.tracklets())
    if not tracklets:
        raise ValueError(
            f"{job.watched[VIDEOS]}: no person is seen in {section.min_frames} frames with confidence "
            f"{section.confidence}; lower data.raw.min_frames or data.raw.confidence"
        )
    return {"images": len(found), "tracklets": tracklets}


def load_tracklets(job: Job) -> Manifest:
    """What the stage has found.

    Args:
        job: of a stage that reads "tracklets".
    """
    folder = job.inputs[STAGE] / CROPS_FOLDER
    return Manifest.load(folder / "manifest.parquet", folder)
