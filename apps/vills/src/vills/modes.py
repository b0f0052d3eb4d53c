"""What is looked for in what: images, videos, and videos by single frames or images."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from vills.config import EvaluateConfig, Shapes

TITLES = {"image": "image", "video": "video", "image_to_video": "image-to-video"}
NAMES = {"pretrained": "VILLS", "scratch": "from scratch"}


class Mode(NamedTuple):
    """A retrieval problem: names of its query and gallery features, and the source whose protocol counts."""

    query: str
    gallery: str
    source: str


def modes(sources: Collection[str]) -> dict[str, Mode]:
    """Retrieval problems by name.

    Image-to-video is the paper's "mix" (4.2.3): in the lab single frames of the query videos search the
    gallery's videos; data.mix brings images of its own.

    Args:
        sources: names of those that are evaluated on.

    Example:
        >>> list(modes(["data.image", "data.video"])), modes(["data.mix"])["image_to_video"].query
        (['image', 'video', 'image_to_video'], 'mix_images')
    """
    if "data.mix" in sources:
        return {"image_to_video": Mode("mix_images", "mix_clips", "data.mix")}
    found = {
        "image": Mode("query_images", "gallery_images", "data.image"),
        "video": Mode("query_clips", "gallery_clips", "data.video"),
        "image_to_video": Mode("query_frames", "gallery_clips", "data.video"),
    }
    return {name: mode for name, mode in found.items() if mode.source in sources}


@dataclass(frozen=True)
class Evaluation:
    """What the stage gets.

    Attributes:
        evaluate: how.
        variants: fine-tuned models, the main one first.
        protocols: source that is evaluated on -> name of its protocol.
        galleries: the same -> number of single-shot galleries, 0 for the whole one.
        shapes: sizes of images and clips.
    """

    evaluate: EvaluateConfig
    variants: tuple[str, ...]
    protocols: dict[str, str]
    galleries: dict[str, int]
    shapes: Shapes
