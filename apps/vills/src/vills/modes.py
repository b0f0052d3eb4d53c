"""What is looked for in what: images, videos, and videos by single frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from vills.config import EvaluateConfig, Shapes

TITLES = {"image": "image", "video": "video", "mix": "image-to-video"}
NAMES = {"pretrained": "VILLS", "scratch": "from scratch"}


class Mode(NamedTuple):
    """A retrieval problem: names of its query and gallery features, and the source whose protocol counts."""

    query: str
    gallery: str
    source: str


MODES = {
    "image": Mode("query_images", "gallery_images", "data.image"),
    "video": Mode("query_clips", "gallery_clips", "data.video"),
    "mix": Mode("query_frames", "gallery_clips", "data.video"),
}


@dataclass(frozen=True)
class Evaluation:
    """What the stage gets.

    Attributes:
        evaluate: how.
        variants: fine-tuned models, the main one first.
        protocols: source -> name of the protocol.
        shapes: sizes of images and clips.
    """

    evaluate: EvaluateConfig
    variants: tuple[str, ...]
    protocols: dict[str, str]
    shapes: Shapes
