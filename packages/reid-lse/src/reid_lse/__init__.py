"""Local semantic extraction: keypoints prompt a segmenter for head, torso and legs of people (VILLS)."""

from reid_lse.batch import extract
from reid_lse.checkpoints import load_sam
from reid_lse.dataset import RegionDataset
from reid_lse.detector import KeypointRCNNPredictor, load_keypoint_rcnn
from reid_lse.extraction import Extraction
from reid_lse.files import UnreadableImage, list_images, read_image
from reid_lse.keypoint_files import KeypointTable, read_keypoints
from reid_lse.keypoints import COCO_KEYPOINTS, KeypointPredictor, prior
from reid_lse.lse import LocalSemanticExtractor, Regions
from reid_lse.models import build_keypoints, build_segmenter
from reid_lse.parsing import LIP, Parsing
from reid_lse.prompts import AREAS, Prompts, indicator, make_prompts, prompt_boxes
from reid_lse.regions import crop_regions, pack_masks, unpack_masks
from reid_lse.rle import decode_mask, encode_mask
from reid_lse.sam import SamSegmenter
from reid_lse.segmenters import Segmenter, grabcut

__all__ = [
    "AREAS",
    "COCO_KEYPOINTS",
    "LIP",
    "Extraction",
    "KeypointPredictor",
    "KeypointRCNNPredictor",
    "KeypointTable",
    "LocalSemanticExtractor",
    "Parsing",
    "Prompts",
    "RegionDataset",
    "Regions",
    "SamSegmenter",
    "Segmenter",
    "UnreadableImage",
    "build_keypoints",
    "build_segmenter",
    "crop_regions",
    "decode_mask",
    "encode_mask",
    "extract",
    "grabcut",
    "indicator",
    "list_images",
    "load_keypoint_rcnn",
    "load_sam",
    "make_prompts",
    "pack_masks",
    "prior",
    "prompt_boxes",
    "read_image",
    "read_keypoints",
    "unpack_masks",
]
