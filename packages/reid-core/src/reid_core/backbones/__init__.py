"""Backbones with token access at any image size: ReIDZoo's 32, timm's and CLIP's image towers."""

from reid_core.backbones.clip import CLIPEncoder
from reid_core.backbones.cnn import CNNEncoder
from reid_core.backbones.pooling import GeM
from reid_core.backbones.stems import ConvStem
from reid_core.backbones.swin import SwinEncoder
from reid_core.backbones.tokens import Tokens
from reid_core.backbones.vit import ViTEncoder
from reid_core.backbones.volo import VOLOEncoder
from reid_core.backbones.zoo import VITS, ZOO, Encoder, build_backbone

__all__ = [
    "VITS",
    "ZOO",
    "CLIPEncoder",
    "CNNEncoder",
    "ConvStem",
    "Encoder",
    "GeM",
    "SwinEncoder",
    "Tokens",
    "ViTEncoder",
    "VOLOEncoder",
    "build_backbone",
]
