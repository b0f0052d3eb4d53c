from .evaluation import RANKS, Result, evaluate
from .inputs import check_order
from .open_set import OpenSet, calibration_error, fnir_at_fpir
from .protocols import PROTOCOLS, find_protocol, single_shot
from .ranking import Ranked, rank
from .rerank import Reranking, k_reciprocal
from .roc import Roc, ScoreHistogram
from .search import Found, build_index, exact_search, index_search
from .templates import pool_templates
from .trials import GALLERIES, SPLITS, Spread, average

__version__: str

__all__ = [
    "Found",
    "GALLERIES",
    "OpenSet",
    "PROTOCOLS",
    "RANKS",
    "Ranked",
    "Reranking",
    "Result",
    "Roc",
    "SPLITS",
    "ScoreHistogram",
    "Spread",
    "average",
    "build_index",
    "calibration_error",
    "check_order",
    "evaluate",
    "k_reciprocal",
    "rank",
    "exact_search",
    "find_protocol",
    "fnir_at_fpir",
    "index_search",
    "pool_templates",
    "single_shot",
]
