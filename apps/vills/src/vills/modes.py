"""What is looked for in what: images, videos, and videos by single frames."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from reid_core.data.datasets import ImageDataset, TrackletDataset

TITLES = {"image": "image", "video": "video", "mix": "image-to-video"}


class Side(NamedTuple):
    """Queries or gallery of one mode.

    Attributes:
        dataset: images or clips.
        pids: int64 [n].
        camids: int64 [n].
        pictures: an image's path, or a clip's, for figures.
        protocol: name of the protocol of what it is from.
    """

    dataset: ImageDataset | TrackletDataset
    pids: np.ndarray
    camids: np.ndarray
    pictures: list[Path]
    protocol: str


class Mode(NamedTuple):
    """A retrieval problem: names of its query and gallery features."""

    query: str
    gallery: str


MODES = {
    "image": Mode("query_images", "gallery_images"),
    "video": Mode("query_clips", "gallery_clips"),
    "mix": Mode("query_frames", "gallery_clips"),
}
