"""Raw video in a stage: the tracklets of persons are cut out of it by all processes together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from reid_core.processes import local_device, ranks, share, wait_for_all
from reid_core.recipe.rows import CROPS_FOLDER, load_tracked
from reid_core.recipe.stage import Job

if TYPE_CHECKING:
    from reid_core.data.manifest import Manifest
    from reid_core.video import TrackletConfig


def track_videos(job: Job, videos: Path, weights: Path, config: TrackletConfig) -> Manifest:
    """Cut the tracklets of persons out of all videos, of which each process takes a share.

    Interrupted and called again, it resumes. Later stages get the rows by `Job.manifest`.

    Args:
        job: of a collective stage; its folder gets crops/, as `reid_core.video.extract_tracklets` writes it.
        videos: folder of videos, at any depth.
        weights: of the detector, torchvision's fasterrcnn_resnet50_fpn_v2.
        config: which tracks are kept.

    Returns:
        The tracklets, in every process.
    """
    from reid_core.video import PersonDetector, collect_tracklets, extract_tracklets

    out = job.folder / CROPS_FOLDER
    rank, world = ranks(job.runtime)
    detector = PersonDetector(weights, device=local_device(job.runtime.accelerator))
    extract_tracklets(videos, out, detector, config, part=rank, parts=world, progress=rank == 0)
    wait_for_all()
    share(lambda: len(collect_tracklets(videos, out)))
    return load_tracked(job.folder)
