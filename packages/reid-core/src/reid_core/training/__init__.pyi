from .checkpoints import load_checkpoint, read_checkpoint, write_checkpoint
from .config import Augmentation, TrainConfig, Training, dino_training
from .loop import fit
from .optimisers import build_optimizer, clip_each, parameter_groups
from .protocols import AfterStep, BatchSampler, Logger, Objective, ParameterGroups
from .schedules import cosine, schedule

__all__ = [
    "AfterStep",
    "Augmentation",
    "BatchSampler",
    "Logger",
    "Objective",
    "ParameterGroups",
    "TrainConfig",
    "Training",
    "build_optimizer",
    "clip_each",
    "cosine",
    "dino_training",
    "fit",
    "load_checkpoint",
    "parameter_groups",
    "read_checkpoint",
    "schedule",
    "write_checkpoint",
]
