from .build import Encoder, build_backbone
from .clip import CLIPEncoder
from .cnn import CNNEncoder
from .pooling import GeM
from .sequence import SequenceEncoder
from .stems import ConvStem
from .swin import SwinEncoder
from .tokens import Tokens
from .vit import ViTEncoder
from .volo import VOLOEncoder
from .zoo import VITS, ZOO

__all__ = [
    "VITS",
    "ZOO",
    "CLIPEncoder",
    "CNNEncoder",
    "ConvStem",
    "Encoder",
    "GeM",
    "SequenceEncoder",
    "SwinEncoder",
    "Tokens",
    "ViTEncoder",
    "VOLOEncoder",
    "build_backbone",
]
