"""Backbones with token access at any image size: ReIDZoo's 32, timm's and CLIP's image towers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
