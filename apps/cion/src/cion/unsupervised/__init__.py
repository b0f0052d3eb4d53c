"""Cluster Contrast on images without labels: unsupervised learning (USL) and domain adaptation (UDA)."""
