"""Exact evaluation of person re-identification."""

from reid_eval.evaluation import RANKS, Result, evaluate
from reid_eval.inputs import check_order
from reid_eval.protocols import PROTOCOLS
from reid_eval.ranking import Ranked, ranked
from reid_eval.rerank import Reranking, k_reciprocal
from reid_eval.roc import Roc, ScoreHistogram
from reid_eval.search import Found, build_index, exact_search, index_search
from reid_eval.templates import pool_templates
from reid_eval.trials import Spread, average

__all__ = [
    "Found",
    "PROTOCOLS",
    "RANKS",
    "Ranked",
    "Reranking",
    "Result",
    "Roc",
    "ScoreHistogram",
    "Spread",
    "average",
    "build_index",
    "check_order",
    "evaluate",
    "k_reciprocal",
    "ranked",
    "exact_search",
    "index_search",
    "pool_templates",
]
