"""ReIDZoo: CION's 32 models as one table, and what is written of them."""

from cion.zoo.files import export
from cion.zoo.table import MODELS, Published, model, published_config

__all__ = ["MODELS", "Published", "export", "model", "published_config"]
