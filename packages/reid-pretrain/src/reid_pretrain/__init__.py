"""Self-supervised video-image pre-training in pure torch (VILLS)."""
