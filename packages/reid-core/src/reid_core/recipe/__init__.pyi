from .checks import check_batches, check_files
from .config import RecipeConfig
from .features import extract_features, save_features
from .lease import Busy
from .results import flatten_results
from .rows import part
from .runner import Recipe, run
from .sources import Source, Sources, Synthetic, list_trials
from .stage import Job, Stage
from .store import StageError
from .tables import Row, Table, ablate
from .tracklets import track_videos

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
    "check_batches",
    "check_files",
    "extract_features",
    "flatten_results",
    "list_trials",
    "part",
    "run",
    "save_features",
    "track_videos",
]
