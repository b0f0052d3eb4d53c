"""Readers: a folder as it was released in, a Manifest out. One file per data set; `table` lists them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
