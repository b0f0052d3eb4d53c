"""Pictures for papers, readable in print and without colour vision; each function returns a Figure.

`save_figure` writes one. `plot_cmc`, `plot_ranked_list` and `plot_attention` draw and write in one call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from reid_eval.evaluation import Result
from reid_eval.figures.attention import attention_figure
from reid_eval.figures.curves import cmc_figure, roc_figure, score_histogram_figure
from reid_eval.figures.pictures import as_picture
from reid_eval.figures.ranked_list import ranked_list_figure
from reid_eval.figures.style import save_figure
from reid_eval.figures.tsne import sample_identities, tsne, tsne_figure

__all__ = [
    "as_picture",
    "attention_figure",
    "cmc_figure",
    "plot_attention",
    "plot_cmc",
    "plot_ranked_list",
    "ranked_list_figure",
    "roc_figure",
    "sample_identities",
    "save_figure",
    "score_histogram_figure",
    "tsne",
    "tsne_figure",
]


def plot_cmc(results: Mapping[str, Result], path: str | Path, max_rank: int = 20) -> Path:
    """Write `cmc_figure` to a file; returns its path."""
    return save_figure(cmc_figure(results, max_rank), path)


def plot_ranked_list(
    query_images: Sequence[object],
    gallery_images: Sequence[object] | Mapping[int, object],
    indices: np.ndarray,
    correct: np.ndarray,
    path: str | Path,
) -> Path:
    """Write `ranked_list_figure` to a file; returns its path."""
    return save_figure(ranked_list_figure(query_images, gallery_images, indices, correct), path)


def plot_attention(
    images: Sequence[object],
    maps: Mapping[str, np.ndarray | torch.Tensor],
    path: str | Path,
    normalise: Literal["row", "cell"] = "cell",
    alpha: float = 0.6,
) -> Path:
    """Write `attention_figure` to a file; returns its path."""
    return save_figure(attention_figure(images, maps, normalise, alpha), path)
