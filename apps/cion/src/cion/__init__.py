"""CION end to end: so far, fine-tuning without labels (Cluster Contrast, USL and UDA)."""
