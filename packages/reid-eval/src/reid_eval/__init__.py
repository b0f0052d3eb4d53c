"""Exact evaluation of person re-identification."""

from reid_eval.evaluation import RANKS, Result, evaluate
from reid_eval.figures import plot_attention, plot_cmc, plot_ranked_list
from reid_eval.inputs import check_order
from reid_eval.protocols import PROTOCOLS
from reid_eval.ranking import Ranked, ranked
from reid_eval.roc import Roc, ScoreHistogram
from reid_eval.templates import templates
from reid_eval.trials import Spread, average

__all__ = [
    "PROTOCOLS",
    "RANKS",
    "Ranked",
    "Result",
    "Roc",
    "ScoreHistogram",
    "Spread",
    "average",
    "check_order",
    "evaluate",
    "plot_attention",
    "plot_cmc",
    "plot_ranked_list",
    "ranked",
    "templates",
]
