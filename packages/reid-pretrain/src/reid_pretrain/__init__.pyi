from .blocks import block_mask
from .cion import CION, CIONConfig, prototype_memory
from .encoder import VideoImageEncoder
from .losses import AlignmentLoss, DINOLoss, IdentityGuidedLoss, KoLeoLoss, MaskingLoss
from .resampler import PerceiverResampler
from .vills import VILLS, VILLSConfig

__version__: str

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
