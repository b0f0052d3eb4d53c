"""Local semantic extraction: keypoints prompt a segmenter for head, torso and legs of people (VILLS)."""

from reid_lse.checkpoints import load_sam
from reid_lse.detector import KeypointRCNNPredictor, load_keypoint_rcnn
from reid_lse.keypoints import COCO_KEYPOINTS, KeypointPredictor, prior
from reid_lse.lse import LocalSemanticExtractor, Regions
from reid_lse.models import build_keypoints, build_segmenter
from reid_lse.parsing import LIP, Parsing
from reid_lse.prompts import AREAS, Prompts, indicator, make_prompts, prompt_boxes
from reid_lse.regions import crop_regions, pack_masks, unpack_masks
from reid_lse.sam import SamSegmenter
from reid_lse.segmenters import Segmenter, grabcut

__all__ = [
    "AREAS",
    "COCO_KEYPOINTS",
    "LIP",
    "KeypointPredictor",
    "KeypointRCNNPredictor",
    "LocalSemanticExtractor",
    "Parsing",
    "Prompts",
    "Regions",
    "SamSegmenter",
    "Segmenter",
    "build_keypoints",
    "build_segmenter",
    "crop_regions",
    "grabcut",
    "indicator",
    "load_keypoint_rcnn",
    "load_sam",
    "make_prompts",
    "pack_masks",
    "prior",
    "prompt_boxes",
    "unpack_masks",
]
