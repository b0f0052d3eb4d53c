"""`reid-gallery identities`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal


def identities(
    source: str,
    model: str,
    out: str,
    preprocessing: dict[str, Any] | None = None,
    weights: str | None = None,
    detector_model: str = "fasterrcnn_resnet50_fpn_v2",
    detector: Callable[..., Any] | None = None,
    boxes: str | None = None,
    tracker: Literal["bytetrack", "ocsort", "botsort"] = "bytetrack",
    every: int = 1,
    confidence: float = 0.5,
    min_frames: int = 8,
    images: int = 16,
    cameras: str | None = None,
    decisions: str | None = None,
    criteria: str | None = None,
    center: Literal["auto", "yes", "no"] = "auto",
    half_range: int = 5000,
    links: int = 50,
    seed: int = 0,
    device: str = "auto",
    ray: str | None = None,
) -> int:
    """Find who is who in videos: one person, one number, over all cameras (extra `video`).

    OUT/tracklets.parquet and OUT/images.parquet have each tracklet's and image's person, OUT/mot the boxes
    with people's numbers in the MOT challenge's format, OUT/page.html timelines and the uncertain links,
    OUT/report.json what can be said of the quality. The same command resumes after being cut off, and takes
    people's answers in OUT/decisions.csv, which the page makes, into account.

    Args:
        source: folder of videos, at any depth, or a manifest (.parquet, .csv) of images with tracklets.
        model: a model folder, a hub's OWNER/NAME, or an .onnx or .xml file.
        out: folder to write to.
        preprocessing: fields of reid_core.models.Preprocessing, for an exported file without a config.json.
        weights: file of the detector's weights, as torchvision publishes them.
        detector_model: torchvision's name of that detector: fasterrcnn_resnet50_fpn_v2,
            retinanet_resnet50_fpn_v2 or another of its COCO detectors (an unknown name lists them all).
        detector: a function of your own in its place, as package.module.function: frames -> boxes and scores.
        boxes: folder with VIDEO.txt for each video, boxes in the MOT challenge's format; if all have an id,
            these are the tracks, else they are tracked.
        tracker: tracker of the boxes: ByteTrack, OC-SORT or BoT-SORT.
        every: step between the frames that are looked at: 1 for all frames, 2 for every second one.
        confidence: least mean score of a kept track's boxes, from 0 to 1.
        min_frames: frames of the shortest track that is kept.
        images: crops per track that are embedded.
        cameras: CSV with the columns video, camera and start (seconds on a common clock); by default the
            first folder of a video's name is its camera.
        decisions: people's answers, CSV with first, second (tracklets' names) and answer (same or
            different); by default OUT/decisions.csv.
        criteria: JSON file that `reid-denoise calibrate` wrote; by default they are calibrated on the
            tracklets, without labels.
        center: whether features are centered by camera; auto does it from 30 tracklets of each camera on.
        half_range: tracklets to either side that one is compared with; where there are more, videos are put
            in an order first.
        links: largest number of uncertain links on the page.
        seed: number that seeds the random draws of pairs.
        device: where the detector runs: auto, cpu or cuda; the model takes a GPU if there is one.
        ray: address of a Ray cluster that does the work, such as auto; all nodes must see the same files.
    """
    import json
    from pathlib import Path

    from reid_core.video import PersonDetector
    from reid_gallery.identities.linking import LinkConfig
    from reid_gallery.identities.run import find_identities
    from reid_gallery.identities.sources import Model, open_source
    from reid_gallery.identities.videos import TrackConfig

    config = TrackConfig(tracker, every, confidence, min_frames, images)
    linking = LinkConfig(criteria, center, half_range, seed)
    if weights is not None and detector is not None:
        raise ValueError("give --weights or --detector, not both")
    detect = PersonDetector(weights, detector_model, device) if weights else detector
    about = Model(model, json.dumps(preprocessing or {}))
    about.load()  # a model that can't be loaded is told before any video is read
    given = open_source(source, about, config, detect, boxes)
    settings = given.settings | {
        "source": str(Path(source).absolute()),
        "model": {"source": model, "preprocessing": preprocessing or {}},
    }
    if weights is not None:
        settings["detector"] = {"model": detector_model, "weights": str(Path(weights).absolute())}
    report = find_identities(
        given,
        Path(out),
        settings,
        linking,
        cameras=None if cameras is None else Path(cameras),
        decisions=None if decisions is None else Path(decisions),
        links=links,
        ray=ray,
    )
    for why in report["unreadable_videos"].values():
        print(f"skipped {why}")
    shared, verdict = report["people_before_several_cameras"], report["quality"]["verdict"]
    print(
        f"{out}: {report['people']} people in {report['tracklets']} tracklets, {shared} before several "
        f"cameras. {verdict} See {Path(out) / 'page.html'}"
    )
    return 0
