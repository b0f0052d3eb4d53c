from .calibration import Calibration, CalibrationReport, calibrate_criteria
from .cameras import center_by_camera
from .constraints import simultaneous
from .criteria import LEVELS, LINKINGS, Criteria, Level, Linking
from .noise_metric import Noise, noise
from .pipeline import Denoised, Order, denoise
from .report import Borderline, LevelReport, NoiseLevel, Report
from .scores import Scores, score
from .sensitivity import sweep

__version__: str

__all__ = [
    "Borderline",
    "Calibration",
    "CalibrationReport",
    "Criteria",
    "Denoised",
    "LEVELS",
    "LINKINGS",
    "Level",
    "Linking",
    "LevelReport",
    "Noise",
    "NoiseLevel",
    "Order",
    "Report",
    "Scores",
    "calibrate_criteria",
    "center_by_camera",
    "denoise",
    "noise",
    "score",
    "simultaneous",
    "sweep",
]
