"""Manifests, data sets, a synthetic world, backbones, heads, training and tracking for re-identification."""

__version__ = "0.1.0"
