"""Settings of the authors' release where it differs from the paper, as data; no torch is imported here.

The release is github.com/FHR-L/VSLA-CLIP: its configs, solver, datasets and processor, read on 2026-11-26.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

RELEASED: Mapping[str, Any] = {
    "recipe": "released",
    "data.mean": IMAGENET_MEAN,
    "data.std": IMAGENET_STD,
    "data.interpolation": "bicubic",
    "data.padding": 0,  # frames are resized and flipped, not padded and cropped as 5.2 says
    "adapters.init": "torch",
    "adapters.activation": "quick_gelu",
    "stage1.train.min_lr": 1e-6,
    "stage2.epoch": "sampler",
    "stage2.losses.scale": None,
    "stage2.losses.id_levels": ("pooled", "projected"),
    "stage2.losses.triplet_levels": ("penultimate", "pooled", "projected"),
    "stage2.train.warmup_epochs": 10.0,
    "stage2.train.warmup_start": 0.1,
    "stage2.train.weight_decay": 2.5e-4,
    "stage2.train.weight_decay_bias": 1e-4,
    "stage2.train.bias_lr_factor": 2.0,
    "stage2.train.decay_vectors": True,
    "evaluate.sampling": "first",
    "evaluate.levels": ("pooled", "projected"),
}
"""Dotted name in the configuration -> value.

ImageNet's statistics and bicubic frames; adapters that begin with torch's weights and have CLIP's QuickGELU.
An epoch is the sampler's pass. Inner products; identity losses on 768 and 512 channels, triplets on three
features. Ten epochs of warm-up from a tenth; weight decay 2.5e-4, of biases 1e-4 at twice the rate. Retrieval
by 1,280 channels of the first frames of eight blocks. Optimiser (Adam), rates, milestones, batches, label
smoothing, frames, prompts and weights of the losses are the paper's.
"""


def settings(options: Any) -> Mapping[str, Any]:
    """What is the default under the options given.

    Args:
        options: a command's, parsed: `recipe`, or `released`, a file of the authors', which implies theirs.

    Returns:
        Dotted name -> value; nothing for the paper's.

    Example:
        >>> settings({"recipe": "released"})["stage2.train.warmup_epochs"], settings({"recipe": "paper"})
        (10.0, {})
    """
    return RELEASED if options.get("recipe") == "released" or options.get("released") else {}
