"""Stages that pre-training's and unsupervised learning's recipes share, one file each."""
