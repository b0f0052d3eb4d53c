"""Manifests and everything between image files and batches: readers, data sets, samplers, transforms."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
