"""VILLS end to end: prepare, LSE, pre-train, fine-tune, evaluate."""

__version__ = "0.1.0"
