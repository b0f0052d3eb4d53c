from .checks import Findings, check
from .counts import count, differences
from .datasets import ImageDataset, TrackletDataset, collate
from .decoding import UnreachableImage, UnreadableImage, read_image
from .frames import sample_frames
from .joint import ImagesAndClips, JointBatches, ZippedBatches, collate_both
from .manifest import Manifest, ManifestError
from .pool import Pool, PoolPart, build_pool
from .readers import READERS, ReaderError, read
from .readiness import Gaps, find_gaps
from .samplers import Batches, CameraPKBatches, Draw, PKBatches, RandomBatches, ShuffledBatches
from .streaming import ShardBatches
from .transforms import eval_transform, resize, ssl_transform, train_transform

__all__ = [
    "Batches",
    "CameraPKBatches",
    "Draw",
    "Findings",
    "Gaps",
    "ImageDataset",
    "ImagesAndClips",
    "JointBatches",
    "Manifest",
    "ManifestError",
    "PKBatches",
    "Pool",
    "PoolPart",
    "READERS",
    "RandomBatches",
    "ReaderError",
    "ShardBatches",
    "ShuffledBatches",
    "TrackletDataset",
    "UnreachableImage",
    "UnreadableImage",
    "ZippedBatches",
    "build_pool",
    "check",
    "collate",
    "collate_both",
    "count",
    "differences",
    "eval_transform",
    "find_gaps",
    "read",
    "read_image",
    "resize",
    "sample_frames",
    "ssl_transform",
    "train_transform",
]
