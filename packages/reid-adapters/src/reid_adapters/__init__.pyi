from .adaptformer import AdaptFormer
from .attaching import attach, detach, merge
from .backbones import Backbone
from .backbones.open_clip_vit import OpenClipViT
from .backbones.timm_vit import TimmViT
from .cfaa import CFAA
from .checkpoint import load_pretrained, save_pretrained
from .config import (
    AdaptFormerConfig,
    CFAAConfig,
    IA3Config,
    IFAConfig,
    LoRAConfig,
    LossConfig,
    PBPConfig,
    VPTConfig,
    VSLAConfig,
)
from .encoder import ParameterCounts, SetEncoder, count_parameters
from .ifa import IFA
from .losses import HardTripletLoss, IDHead, contrastive_loss, visual_to_semantic_loss
from .method import Layer, Method, Site
from .objective import VSLAObjective
from .pbp import PBP
from .prompts import CLIP_REID, SET_LEVEL, IDPromptLearner
from .released import Report, load_initial, load_released, load_released_prompts
from .vpt import VPT

__version__: str

__all__ = [
    "AdaptFormer",
    "AdaptFormerConfig",
    "Backbone",
    "CFAA",
    "CFAAConfig",
    "CLIP_REID",
    "HardTripletLoss",
    "IA3Config",
    "IDHead",
    "IDPromptLearner",
    "IFA",
    "IFAConfig",
    "Layer",
    "LoRAConfig",
    "LossConfig",
    "Method",
    "OpenClipViT",
    "PBP",
    "PBPConfig",
    "ParameterCounts",
    "Report",
    "SET_LEVEL",
    "SetEncoder",
    "Site",
    "TimmViT",
    "VPT",
    "VPTConfig",
    "VSLAConfig",
    "VSLAObjective",
    "attach",
    "contrastive_loss",
    "count_parameters",
    "detach",
    "load_initial",
    "load_pretrained",
    "load_released",
    "load_released_prompts",
    "merge",
    "save_pretrained",
    "visual_to_semantic_loss",
]
