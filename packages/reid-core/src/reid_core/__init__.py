"""Manifests, data sets, a synthetic world, backbones, heads, training and tracking for re-identification."""
