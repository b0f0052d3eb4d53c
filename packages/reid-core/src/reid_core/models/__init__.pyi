from .backbones import Encoder, Tokens, build_backbone
from .features import extract, valid_path
from .heads import ReIDModel, ReIDObjective
from .weights import load_weights

__all__ = [
    "Encoder",
    "ReIDModel",
    "ReIDObjective",
    "Tokens",
    "build_backbone",
    "extract",
    "load_weights",
    "valid_path",
]
