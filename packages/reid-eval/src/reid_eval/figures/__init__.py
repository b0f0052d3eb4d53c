"""Pictures for papers, readable in print and without colour vision; each function returns a Figure.

`save_figure` writes one.
"""

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
    "ranked_list_figure",
    "roc_figure",
    "sample_identities",
    "save_figure",
    "score_histogram_figure",
    "tsne",
    "tsne_figure",
]
