"""Raw video as what CION is pre-trained on."""

from types import SimpleNamespace

import pandas as pd

from cion.pretraining.config import TrackletsConfig
from cion.pretraining.stages.tracklets import Tracking, find_tracklets, load_videos
from reid_core.data.manifest import Manifest


def test_tracked_crops_are_read_where_they_lie_now(tmp_path, monkeypatch):
    def track(job, videos, weights, limits):
        assert (videos, weights, limits.min_frames) == ("VIDEOS", "WEIGHTS", 5)
        rows = {"path": ["a.mp4/0/0.jpg", "a.mp4/0/1.jpg"], "split": "unlabeled", "tracklet": 0, "video": 0}
        return Manifest(pd.DataFrame(rows), job.folder / "crops", "tracklets")

    monkeypatch.setattr("cion.pretraining.stages.tracklets.track_videos", track)
    section = Tracking(TrackletsConfig(min_frames=5), None)
    before, after = tmp_path / "before", tmp_path / "after"
    job = SimpleNamespace(
        section=section, watched={"raw": "VIDEOS"}, files={"detector": "WEIGHTS"}, folder=before
    )
    before.mkdir()
    assert find_tracklets(job) == {"images": 2, "tracklets": 1, "videos": 1}
    before.rename(after)
    found = load_videos(SimpleNamespace(inputs={"tracklets": after}, roots={}))
    assert len(found) == 2 and found.root == after / "crops"
