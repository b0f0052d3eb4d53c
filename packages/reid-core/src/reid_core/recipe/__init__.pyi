from .config import RecipeConfig
from .lease import Busy
from .nested import run_stage
from .rows import part
from .runner import Recipe, run
from .sources import Source, Sources, Synthetic
from .stage import Job, Stage
from .store import StageError
from .tables import Row, Table, ablate

__all__ = [
    "Busy",
    "Job",
    "Recipe",
    "RecipeConfig",
    "Row",
    "Source",
    "Sources",
    "Stage",
    "StageError",
    "Synthetic",
    "Table",
    "ablate",
    "part",
    "run",
    "run_stage",
]
