"""What to extract and with what: the options that the commands share."""

from __future__ import annotations

from dataclasses import dataclass, field

from reid_lse.areas import DEFAULT_AREAS, DEFAULT_THRESHOLD, MIN_QUALITY
from reid_lse.options import Options


@dataclass(frozen=True)
class Extraction:
    """How masks are made.

    Args:
        keypoints: prior, blazepose or another predictor, or a file of keypoints (COCO's *.json, *.parquet)
        keypoint_options: of the predictor, such as --keypoint_options.checkpoint FILE
        segmenter: crf, grabcut, sam_vit_b or another segmenter's name
        segmenter_options: of the segmenter, such as --segmenter_options.pack 32
        areas: which areas, such as [head,torso,legs], or own ones, such as '{"face": ["nose"]}'
        threshold: confidence over which a keypoint is a prompt (tau of Eq. 4)
        literal: Eq. 4 taken literally, keypoints under the threshold are negative prompts
        min_quality: areas of a lower quality are not valid
        device: where the models run, such as cuda
    """

    keypoints: str = "prior"
    keypoint_options: Options = field(default_factory=dict)
    segmenter: str = "crf"
    segmenter_options: Options = field(default_factory=dict)
    areas: list[str] | dict[str, list[str]] = field(default_factory=lambda: list(DEFAULT_AREAS))
    threshold: float = DEFAULT_THRESHOLD
    literal: bool = False
    min_quality: float = MIN_QUALITY
    device: str = "cpu"
