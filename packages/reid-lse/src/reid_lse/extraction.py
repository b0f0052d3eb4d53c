"""What to extract and with what: the options that the commands share."""

from __future__ import annotations

from dataclasses import dataclass, field

from reid_lse.areas import DEFAULT_AREAS, DEFAULT_THRESHOLD, MIN_QUALITY
from reid_lse.options import Options


@dataclass(frozen=True)
class Extraction:
    """How masks are made.

    Args:
        keypoints: predictor (prior, blazepose, keypointrcnn_resnet50_fpn, vitpose, sapiens2 or rtmpose), or a
            file of keypoints (COCO's *.json, *.parquet)
        keypoint_options: options of the predictor, such as --keypoint_options.checkpoint FILE
        segmenter: crf, grabcut, sam_vit_b, sam_vit_l, sam_vit_h, sam2.1_hiera_tiny, sam2.1_hiera_small,
            sam2.1_hiera_base_plus, sam2.1_hiera_large (these four and edgetam also with _video at the end,
            for tracklets), sam_hq_vit_b, sam_hq_vit_l, sam_hq_vit_h, edgetam, sam3_tracker or label_maps
        segmenter_options: options of the segmenter, such as --segmenter_options.pack 32
        areas: names out of head, torso, legs, left_arm, right_arm, left_leg, right_leg, upper, lower, feet,
            such as [head,torso,legs], or own ones, such as '{"face": ["nose"]}'
        threshold: confidence, from 0 to 1, over which a keypoint is a prompt (tau of VILLS Eq. 4, which has
            no number)
        literal: take VILLS Eq. 4 literally: keypoints under the threshold are negative prompts
        min_quality: estimated IoU, from 0 to 1, below which an area is not valid
        device: where the models run: cpu, cuda or cuda:1
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
