from .backbones import Encoder, Tokens, build_backbone
from .embedder import Embedder, load
from .exporting import export
from .features import Features, extract, retrieval_arguments, valid_path
from .folder import save
from .heads import ReIDModel, ReIDObjective
from .model_config import ModelConfig
from .preprocessing import Preprocessing
from .weights import load_weights

__all__ = [
    "Embedder",
    "Encoder",
    "Features",
    "ModelConfig",
    "Preprocessing",
    "ReIDModel",
    "ReIDObjective",
    "Tokens",
    "build_backbone",
    "export",
    "extract",
    "load",
    "load_weights",
    "retrieval_arguments",
    "save",
    "valid_path",
]
