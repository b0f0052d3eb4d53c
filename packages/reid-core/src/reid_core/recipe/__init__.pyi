from .nested import run_stage
from .stage import Stage, StageError

__all__ = [
    "Stage",
    "StageError",
    "run_stage",
]
