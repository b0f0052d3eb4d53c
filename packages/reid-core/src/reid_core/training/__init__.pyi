from .checkpoints import load_checkpoint, read_checkpoint, write_checkpoint
from .config import TrainConfig
from .loop import fit
from .optimisers import parameter_groups
from .schedules import cosine, schedule

__all__ = [
    "TrainConfig",
    "cosine",
    "fit",
    "load_checkpoint",
    "parameter_groups",
    "read_checkpoint",
    "schedule",
    "write_checkpoint",
]
