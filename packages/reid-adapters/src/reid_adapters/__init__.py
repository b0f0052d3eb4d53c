"""Set-level adapters and prompts for vision transformers (VSLA-CLIP)."""

from reid_adapters.attaching import attach, detach
from reid_adapters.backbones import Backbone, OpenClipViT, TimmViT
from reid_adapters.cfaa import CFAA
from reid_adapters.checkpoint import load_pretrained, save_pretrained
from reid_adapters.config import LoRAConfig, PBPConfig, VSLAConfig
from reid_adapters.encoder import ParameterCounts, SetEncoder, count_parameters
from reid_adapters.ifa import IFA
from reid_adapters.losses import HardTripletLoss, IDHead, contrastive_loss, visual_to_semantic_loss
from reid_adapters.objective import LossConfig, VSLAObjective
from reid_adapters.prompts import CLIP_REID, SET_LEVEL, IDPromptLearner
from reid_adapters.released import Report, load_initial, load_released, load_released_prompts

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
