from .alignment import AlignmentLoss
from .dino import DINOLoss
from .identity import IdentityGuidedLoss
from .koleo import KoLeoLoss
from .masking import MaskingLoss

__all__ = ["AlignmentLoss", "DINOLoss", "IdentityGuidedLoss", "KoLeoLoss", "MaskingLoss"]
