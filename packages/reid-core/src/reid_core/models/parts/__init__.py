"""Parts that fine-tuning recipes are composed of: extractors of several features, and their objective."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
