"""Local-first experiment tracking: every event goes to a log in the run folder, then to MLflow."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
