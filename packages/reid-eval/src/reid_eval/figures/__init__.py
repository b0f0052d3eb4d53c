"""Pictures for papers, readable in print and without colour vision; each function returns a Figure.

`save_figure` writes one.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
