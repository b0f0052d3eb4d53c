"""Self-supervised video-image pre-training for person re-identification, in pure torch."""

from reid_pretrain.blocks import block_mask
from reid_pretrain.encoder import VideoImageEncoder
from reid_pretrain.losses import AlignmentLoss, DINOLoss, KoLeoLoss, MaskingLoss
from reid_pretrain.resampler import PerceiverResampler
from reid_pretrain.vills import VILLS, VILLSConfig

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
