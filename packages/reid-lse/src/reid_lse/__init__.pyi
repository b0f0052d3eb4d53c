from .batch import extract
from .checkpoints import load_sam
from .dataset import RegionDataset
from .detector import KeypointRCNNPredictor, load_keypoint_rcnn
from .extraction import Extraction
from .files import UnreadableImage, list_images, read_image
from .keypoint_files import KeypointTable, read_keypoints
from .keypoints import COCO_KEYPOINTS, KeypointPredictor, prior
from .lse import LocalSemanticExtractor, Regions
from .models import build_keypoints, build_segmenter
from .parsing import LIP, Parsing
from .prompts import AREAS, Prompts, indicator, make_prompts, prompt_boxes
from .regions import crop_regions, pack_masks, unpack_masks
from .rle import decode_mask, encode_mask
from .sam import SamSegmenter
from .segmenters import Segmenter, grabcut

__version__: str

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
