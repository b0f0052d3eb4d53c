from .blocks import block_mask
from .cion import CION, prototype_memory
from .config import CIONConfig, VILLSConfig
from .encoder import VideoImageEncoder
from .indices import index_people, index_views
from .losses import AlignmentLoss, DINOLoss, IdentityGuidedLoss, KoLeoLoss, MaskingLoss
from .resampler import ClassTokenPool, PerceiverResampler
from .vills import VILLS

__version__: str

__all__ = [
    "CION",
    "VILLS",
    "AlignmentLoss",
    "CIONConfig",
    "ClassTokenPool",
    "DINOLoss",
    "IdentityGuidedLoss",
    "KoLeoLoss",
    "MaskingLoss",
    "PerceiverResampler",
    "VILLSConfig",
    "VideoImageEncoder",
    "block_mask",
    "index_people",
    "index_views",
    "prototype_memory",
]
