"""Local semantic extraction: keypoints prompt a segmenter for head, torso and legs of people (VILLS)."""

from reid_lse.keypoints import COCO_KEYPOINTS, KeypointPredictor, prior
from reid_lse.lse import LocalSemanticExtractor, Regions
from reid_lse.prompts import AREAS, Prompts, indicator, make_prompts
from reid_lse.regions import crop_regions, pack_masks, unpack_masks
from reid_lse.segmenters import Segmenter, grabcut

__all__ = [
    "AREAS",
    "COCO_KEYPOINTS",
    "KeypointPredictor",
    "LocalSemanticExtractor",
    "Prompts",
    "Regions",
    "Segmenter",
    "crop_regions",
    "grabcut",
    "indicator",
    "make_prompts",
    "pack_masks",
    "prior",
    "unpack_masks",
]
