"""Progressive multi-level denoising: identities out of noisy tracklets (CION)."""

from reid_denoise.criteria import LEVELS, Criteria, Level
from reid_denoise.noise_metric import Noise, noise
from reid_denoise.pipeline import Denoised, Order, denoise
from reid_denoise.report import Borderline, LevelReport, NoiseLevel, Report
from reid_denoise.scores import Scores, score
from reid_denoise.sensitivity import sweep

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
