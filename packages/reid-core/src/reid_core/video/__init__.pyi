from .detector import Detections, Detector, PersonDetector
from .frames import UnreadableVideo, read_frames
from .tracklets import TrackletConfig, extract_tracklets, find_videos, unreadable_videos

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
