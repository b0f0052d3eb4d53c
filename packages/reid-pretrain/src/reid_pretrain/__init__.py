"""Self-supervised video-image pre-training for person re-identification, in pure torch."""

from reid_pretrain.blocks import block_mask
from reid_pretrain.encoder import VideoImageEncoder
from reid_pretrain.losses import AlignmentLoss
from reid_pretrain.losses import DINOLoss
from reid_pretrain.losses import KoLeoLoss
from reid_pretrain.losses import MaskingLoss
from reid_pretrain.resampler import PerceiverResampler
from reid_pretrain.vills import VILLS
from reid_pretrain.vills import VILLSConfig

__all__ = [
    "VILLS",
    "AlignmentLoss",
    "DINOLoss",
    "KoLeoLoss",
    "MaskingLoss",
    "PerceiverResampler",
    "VILLSConfig",
    "VideoImageEncoder",
    "block_mask",
]
