"""The group `core`: whether what runs on the device is right, and one step of everything."""

from __future__ import annotations

from runner import DEVICE, Group, Part

BASE = ("lazy_loader", "einops", "timm")
"""What all parts import beside torch."""

ADAPTERS = (*BASE, "open_clip", "pytorch_metric_learning", "peft")
TRAINING = (*BASE, "pytorch_metric_learning", "lightning", "rich")

GROUP = Group(
    "losses, objectives, encoders, segmentation, evaluation and the training loop on the device, against "
    "float64 and the CPU; some steps of each objective that wait for nothing",
    seconds=225,
    parts=(
        Part(DEVICE, 60, "device:describe"),
        Part("pre-training", 60, "checks:run_tests:reid-pretrain", BASE),
        Part("adapters", 60, "checks:run_tests:reid-adapters", ADAPTERS),
        Part("segmentation", 60, "checks:run_tests:reid-lse", (*BASE, "segment_anything")),
        Part("evaluation", 30, "checks:run_tests:reid-eval", BASE),
        Part("steps", 90, "checks:steps", BASE),
        Part("training loop", 120, "checks:run_tests:reid-core", TRAINING),
    ),
)
