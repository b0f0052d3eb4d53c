"""CION end to end: denoised identities from tracked video, pre-training, fine-tuning, evaluation."""

__version__ = "0.1.0"
