"""Exact evaluation of person re-identification."""

from reid_eval.evaluation import RANKS, Result, Roc, ScoreHistogram, evaluate
from reid_eval.figures import plot_attention, plot_cmc, plot_ranked_list
from reid_eval.ranking import Ranked, ranked

__all__ = [
    "RANKS",
    "Ranked",
    "Result",
    "Roc",
    "ScoreHistogram",
    "evaluate",
    "plot_attention",
    "plot_cmc",
    "plot_ranked_list",
    "ranked",
]
