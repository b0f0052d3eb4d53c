from .areas import AREAS
from .batch import Summary, extract
from .builder import Builder
from .checkpoints import load_sam
from .dataset import RegionDataset, SavedMasks
from .extraction import Extraction
from .files import Images, UnreadableImage, list_images, read_image
from .job import extract_images
from .keypoint_files import KeypointTable, read_keypoints
from .keypoint_sets import BLAZEPOSE_LANDMARKS, COCO_KEYPOINTS, COCO_WHOLEBODY, HALPE_26
from .keypoints import KeypointPredictor, Pose
from .lse import LocalSemanticExtractor, Segmentation
from .models import build_keypoints, build_segmenter
from .predictors.blazepose import BlazePosePredictor
from .predictors.heatmaps import HeatmapPredictor
from .predictors.keypoint_rcnn import KeypointRCNNPredictor, load_keypoint_rcnn
from .predictors.prior import prior
from .predictors.rtmpose import RTMPosePredictor
from .prompts import Prompts, indicator, make_prompts, prompt_boxes
from .quality import mask_quality
from .regions import crop_regions
from .results import Found, Regions, area_table, label_map, to_detections
from .rle import decode_mask, encode_mask
from .segmentation import Masks, Segmenter
from .segmenters.crf import CRFOptions, CRFSegmenter
from .segmenters.grabcut import grabcut
from .segmenters.hugging_face import PromptableSegmenter
from .segmenters.memory import MemorySegmenter
from .segmenters.parsing import LIP, Parsing
from .segmenters.sam import SamSegmenter
from .tracklet import extract_tracklet, smooth_keypoints
from .weights import fetch_weights

__version__: str

__all__ = [
    "AREAS",
    "BLAZEPOSE_LANDMARKS",
    "COCO_KEYPOINTS",
    "COCO_WHOLEBODY",
    "HALPE_26",
    "LIP",
    "BlazePosePredictor",
    "Builder",
    "CRFOptions",
    "CRFSegmenter",
    "Extraction",
    "Found",
    "HeatmapPredictor",
    "Images",
    "KeypointPredictor",
    "KeypointRCNNPredictor",
    "KeypointTable",
    "LocalSemanticExtractor",
    "Masks",
    "MemorySegmenter",
    "Parsing",
    "Pose",
    "PromptableSegmenter",
    "Prompts",
    "RTMPosePredictor",
    "RegionDataset",
    "Regions",
    "SamSegmenter",
    "Segmentation",
    "SavedMasks",
    "Summary",
    "Segmenter",
    "UnreadableImage",
    "area_table",
    "build_keypoints",
    "build_segmenter",
    "crop_regions",
    "decode_mask",
    "encode_mask",
    "extract",
    "extract_images",
    "extract_tracklet",
    "fetch_weights",
    "grabcut",
    "indicator",
    "label_map",
    "list_images",
    "load_keypoint_rcnn",
    "load_sam",
    "make_prompts",
    "mask_quality",
    "prior",
    "prompt_boxes",
    "read_image",
    "read_keypoints",
    "smooth_keypoints",
    "to_detections",
]
