"""Learning from unlabelled images: Cluster Contrast (Dai et al., ACCV 2022), a step per file."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
