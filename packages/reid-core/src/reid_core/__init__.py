"""Manifests, datasets, the synthetic world, backbones, fine-tuning, training and tracking for person re-identification."""
