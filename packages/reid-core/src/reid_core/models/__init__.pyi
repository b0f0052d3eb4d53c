from .backbones import Encoder, Tokens, build_backbone
from .embedder import Embedder, load
from .features import extract, valid_path
from .folder import save
from .heads import ReIDModel, ReIDObjective
from .model_config import ModelConfig
from .preprocessing import Preprocessing
from .weights import load_weights

__all__ = [
    "Embedder",
    "Encoder",
    "ModelConfig",
    "Preprocessing",
    "ReIDModel",
    "ReIDObjective",
    "Tokens",
    "build_backbone",
    "extract",
    "load",
    "load_weights",
    "save",
    "valid_path",
]
