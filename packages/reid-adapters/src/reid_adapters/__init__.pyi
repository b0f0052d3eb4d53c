from .attaching import attach, detach
from .backbones import Backbone, OpenClipViT, TimmViT
from .cfaa import CFAA
from .checkpoint import load_pretrained, save_pretrained
from .config import LoRAConfig, LossConfig, PBPConfig, VSLAConfig
from .encoder import ParameterCounts, SetEncoder, count_parameters
from .ifa import IFA
from .losses import HardTripletLoss, IDHead, contrastive_loss, visual_to_semantic_loss
from .objective import VSLAObjective
from .prompts import CLIP_REID, SET_LEVEL, IDPromptLearner
from .released import Report, load_initial, load_released, load_released_prompts

__version__: str

__all__ = [
    "CFAA",
    "CLIP_REID",
    "IFA",
    "SET_LEVEL",
    "Backbone",
    "HardTripletLoss",
    "IDHead",
    "IDPromptLearner",
    "LoRAConfig",
    "LossConfig",
    "OpenClipViT",
    "PBPConfig",
    "ParameterCounts",
    "Report",
    "SetEncoder",
    "TimmViT",
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
    "save_pretrained",
    "visual_to_semantic_loss",
]
