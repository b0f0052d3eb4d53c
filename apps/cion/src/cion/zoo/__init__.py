"""ReIDZoo: CION's 32 models as one table, and what is written and read of them."""

from cion.zoo.files import export, load
from cion.zoo.table import MODELS, Published, model, paper_config

__all__ = ["MODELS", "Published", "export", "load", "model", "paper_config"]
