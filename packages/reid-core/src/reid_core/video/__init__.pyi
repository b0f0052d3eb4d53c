from .detector import Detections, Detector, PersonDetector
from .frames import UnreadableVideo, read_frames
from .mot import MotError, read_mot, write_mot
from .tracking import TRACKERS, build_tracker, detect_frames, track_boxes
from .tracklets import TrackletConfig, collect_tracklets, extract_tracklets, find_videos, unreadable_videos

__all__ = [
    "Detections",
    "Detector",
    "MotError",
    "PersonDetector",
    "TRACKERS",
    "TrackletConfig",
    "UnreadableVideo",
    "build_tracker",
    "collect_tracklets",
    "detect_frames",
    "extract_tracklets",
    "find_videos",
    "read_frames",
    "read_mot",
    "track_boxes",
    "unreadable_videos",
    "write_mot",
]
