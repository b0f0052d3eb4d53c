"""The losses of VILLS and CION, one a file, each usable alone."""

from reid_pretrain.losses.alignment import AlignmentLoss
from reid_pretrain.losses.dino import DINOLoss
from reid_pretrain.losses.identity import IdentityGuidedLoss
from reid_pretrain.losses.koleo import KoLeoLoss
from reid_pretrain.losses.masking import MaskingLoss

__all__ = ["AlignmentLoss", "DINOLoss", "IdentityGuidedLoss", "KoLeoLoss", "MaskingLoss"]
