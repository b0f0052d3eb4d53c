"""Raw video to tracklets (extra `video`): decode, detect persons, track, crop."""

from reid_core.video.detector import Detections, Detector, PersonDetector
from reid_core.video.frames import UnreadableVideo, read_frames
from reid_core.video.tracklets import TrackletConfig, extract_tracklets, find_videos, unreadable_videos

__all__ = [
    "Detections",
    "Detector",
    "PersonDetector",
    "TrackletConfig",
    "UnreadableVideo",
    "extract_tracklets",
    "find_videos",
    "read_frames",
    "unreadable_videos",
]
