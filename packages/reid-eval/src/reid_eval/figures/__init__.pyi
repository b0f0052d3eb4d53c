from .attention import attention_figure
from .curves import cmc_figure, roc_figure, score_histogram_figure
from .pictures import as_picture
from .ranked_list import ranked_list_figure
from .style import save_figure
from .tsne import sample_identities, tsne, tsne_figure

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
