"""Self-supervised pre-training for person re-identification (VILLS, CION), in pure torch."""

from reid_pretrain.blocks import block_mask
from reid_pretrain.cion import CION, CIONConfig, prototype_memory
from reid_pretrain.encoder import VideoImageEncoder
from reid_pretrain.losses import AlignmentLoss, DINOLoss, IdentityGuidedLoss, KoLeoLoss, MaskingLoss
from reid_pretrain.resampler import PerceiverResampler
from reid_pretrain.vills import VILLS, VILLSConfig

__all__ = [
    "CION",
    "VILLS",
    "AlignmentLoss",
    "CIONConfig",
    "DINOLoss",
    "IdentityGuidedLoss",
    "KoLeoLoss",
    "MaskingLoss",
    "PerceiverResampler",
    "VILLSConfig",
    "VideoImageEncoder",
    "block_mask",
    "prototype_memory",
]
