from .criteria import LEVELS, Criteria, Level
from .noise_metric import Noise, noise
from .pipeline import Denoised, Order, denoise
from .report import Borderline, LevelReport, NoiseLevel, Report
from .scores import Scores, score
from .sensitivity import sweep

__version__: str

__all__ = [
    "Borderline",
    "Criteria",
    "Denoised",
    "LEVELS",
    "Level",
    "LevelReport",
    "Noise",
    "NoiseLevel",
    "Order",
    "Report",
    "Scores",
    "denoise",
    "noise",
    "score",
    "sweep",
]
