"""Published settings of pre-training, fine-tuning and Cluster Contrast as data; no torch is imported.

Those of fine-tuning are dotted names of `FinetuneConfig` -> values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HALF = (0.5, 0.5, 0.5)
"""Mean and deviation that TransReID's configurations normalise by."""

PRETRAINING: Mapping[str, Mapping[str, Any]] = {
    "paper": {
        "global_scale": [0.4, 1.0],
        "local_scale": [0.05, 0.4],
        "objective": {"prototypes": 65_536},
    },
    "released": {
        "global_scale": [0.8, 1.0],
        "local_scale": [0.05, 0.8],
        "objective": {"prototypes": 65_336},
    },
}
"""Settings of `pretrain` in which the paper (4.1: DINO's) and the published code (run.py) differ."""
DROP_PATH = 0.1
DROP_PATH_MODELS = {"paper": ("vit", "swin", "volo"), "released": ("swin",)}
"""Families whose students have stochastic depth (the paper: DINO's transformers)."""

BAG_OF_TRICKS: Mapping[str, Any] = {
    "train.optimizer": "adam",
    "train.weight_decay": 5e-4,
    "train.decay_vectors": True,
    "train.decay_epochs": (40.0, 70.0),
    "train.warmup_epochs": 10.0,
}
"""Luo et al., CVPRW 2019, without the centre loss; the other values are the defaults."""

TRANSREID: Mapping[str, Any] = {
    "method": "transreid",
    "margin": None,
    "label_smoothing": 0.0,
    "descriptor": "before",
    "mean": HALF,
    "std": HALF,
    "train.optimizer": "sgd",
    "train.lr": 8e-3,
    "train.min_lr": 1.6e-5,
    "train.warmup_epochs": 5.0,
    "train.weight_decay": 1e-4,
    "train.weight_decay_bias": 1e-4,
    "train.bias_lr_factor": 2.0,
    "train.decay_vectors": True,
}
"""He et al., ICCV 2021, section 4.2, and its published configuration; the jigsaw shifts by the paper's 5."""

MIN_LR_SHARE = 0.002
"""Learning rate at the end of TransReID's cosine over the highest."""

RELEASED: Mapping[str, Any] = {
    **TRANSREID,
    "method": "bag_of_tricks",  # the global feature behind a neck: JPM and SIE are off
    "train.epochs": 120.0,
    "train.warmup_epochs": 20.0,
}
"""What CION's 64 configurations have in common (CION_ReIDZoo, TransReID framework)."""

MGN_PAPER: Mapping[str, Any] = {
    "method": "mgn",
    "image_size": (384, 128),
    "margin": 1.2,
    "label_smoothing": 0.0,
    "augmentation.padding": 0,
    "augmentation.erasing": 0.0,
    "train.optimizer": "sgd",
    "train.lr": 1e-2,
    "train.epochs": 80.0,
    "train.warmup_epochs": 0.0,
    "train.decay_epochs": (40.0, 60.0),
    "train.weight_decay": 5e-4,
    "train.decay_vectors": True,
}
"""Wang et al., ACM MM 2018, section 4.1."""

RELEASED_MGN: Mapping[str, Any] = {
    "method": "fastreid_mgn",
    "image_size": (384, 128),
    "margin": None,
    "label_smoothing": 0.1,
    "frozen_epochs": 10.0,
    "identities": 4,
    "instances": 16,
    "train.optimizer": "adam",
    "train.lr": 3.5e-4,
    "train.min_lr": 7.7e-7,
    "train.epochs": 60.0,
    "train.warmup_epochs": 10.0,
    "train.cosine_start_epochs": 30.0,
    "train.weight_decay": 5e-4,
    "train.decay_vectors": True,
}
"""CION's MGN (Tables 1, 3 and 4): fast-reid's stronger baseline, as CION's release configures it."""

Row = tuple[float, int]
"""Learning rate and batch."""

BY_MODEL: Mapping[str, tuple[Row, Row]] = {
    "convnext_base": ((8e-4, 120), (1.6e-3, 256)),
    "convnext_small": ((1.6e-3, 256), (1.6e-3, 256)),
    "convnext_tiny": ((4e-4, 64), (4e-4, 64)),
    "edgenext_base": ((4e-4, 64), (4e-4, 64)),
    "edgenext_small": ((1.6e-3, 256), (4e-4, 64)),
    "edgenext_x_small": ((4e-4, 64), (2e-4, 32)),
    "fastvit_s12": ((4e-4, 64), (4e-4, 64)),
    "fastvit_sa12": ((4e-4, 64), (4e-4, 64)),
    "fastvit_sa24": ((4e-4, 64), (4e-4, 64)),
    "ghostnet_0_5": ((2e-4, 32), (2e-4, 32)),
    "ghostnet_1_0": ((4e-4, 64), (4e-4, 64)),
    "ghostnet_1_3": ((4e-4, 64), (4e-4, 64)),
    "repvit_m0_9": ((8e-4, 128), (4e-4, 64)),
    "repvit_m1_0": ((1.6e-3, 256), (4e-4, 64)),
    "repvit_m1_5": ((4e-4, 64), (4e-4, 64)),
    "resnet101": ((8e-4, 128), (8e-4, 128)),
    "resnet101_ibn": ((4e-4, 64), (8e-4, 128)),
    "resnet152": ((8e-4, 128), (8e-4, 128)),
    "resnet152_ibn": ((8e-4, 128), (8e-4, 128)),
    "resnet18": ((1.6e-3, 256), (2e-4, 32)),
    "resnet18_ibn": ((1.6e-3, 256), (2e-4, 32)),
    "resnet50": ((3.2e-3, 512), (4e-4, 64)),
    "resnet50_ibn": ((3.2e-3, 512), (4e-4, 64)),
    "swin_base": ((4e-4, 64), (2e-4, 64)),
    "swin_small": ((4e-4, 64), (4e-4, 64)),
    "swin_tiny": ((4e-4, 64), (4e-4, 64)),
    "vit_base": ((2.4e-3, 384), (2.4e-3, 384)),
    "vit_small": ((3.2e-3, 512), (3.2e-3, 512)),
    "vit_tiny": ((3.2e-3, 512), (3.2e-3, 512)),
    "volo_d1": ((1.6e-3, 256), (8e-4, 128)),
    "volo_d2": ((1.6e-3, 256), (4e-4, 64)),
    "volo_d3": ((8e-4, 128), (4e-4, 64)),
}
"""Model -> what its configurations for Market-1501 and MSMT17 have."""

WARMUP_EPOCHS = {("ghostnet_0_5", "market1501"): 40.0}
"""Where the warm-up is another one."""

COMMON = {
    "bag_of_tricks": BAG_OF_TRICKS,
    "transreid": TRANSREID,
    "mgn": MGN_PAPER,
    "released_mgn": RELEASED_MGN,
}

CLUSTER_CONTRAST: Mapping[str, Any] = {
    "model.image_size": (256, 128),
    "clusters.identities": 32,
    "clusters.instances": 8,
    "clusters.rounds": 50,
    "clusters.k1": 30,
    "clusters.k2": 6,
    "clusters.momentum": 0.2,
    "clusters.temperature": 0.05,
    "clusters.hardest": True,
    "clusters.decay_every": 20,
    "train.steps": 200,
    "train.optimizer": "sgd",
    "train.lr": 3.5e-4,
    "train.weight_decay": 5e-4,
    "train.decay_vectors": True,
}
"""CION's runs of Cluster Contrast, by dotted names of the configuration of `cion unsupervised`."""

EPS = {"market1501": 0.6, "msmt17": 0.7}
"""Of CION's runs, by target."""


def finetuning(recipe: str, backbone: str, target: str) -> dict[str, Any]:
    """A published recipe's settings.

    Args:
        recipe: bag_of_tricks, transreid, mgn, released or released_mgn.
        backbone: name; "released" has a learning rate and a batch for each model.
        target: reader of the target; "released" knows market1501 and msmt17, and gives others Market-1501's.

    Returns:
        Dotted name of a `FinetuneConfig` -> value.

    Raises:
        ValueError: "released" of a model that is not among the 32.

    Example:
        >>> settings = finetuning("released", "swin_base", "msmt17")
        >>> settings["train.lr"], settings["identities"] * settings["instances"]
        (0.0002, 64)
    """
    if recipe != "released":
        return dict(COMMON[recipe])
    if backbone not in BY_MODEL:
        raise ValueError(
            f"finetune.recipe=released has no settings for {backbone}: choose one of the 32 models of "
            "`cion zoo list`, or another recipe"
        )
    lr, batch = BY_MODEL[backbone][target == "msmt17"]
    instances = 4
    found = {**RELEASED, "instances": instances, "identities": batch // instances}
    found |= {"train.lr": lr, "train.min_lr": MIN_LR_SHARE * lr}
    if (warmup := WARMUP_EPOCHS.get((backbone, target))) is not None:
        found["train.warmup_epochs"] = warmup
    return found


def cluster_contrast(backbone: str, target: str) -> dict[str, Any]:
    """CION's settings of Cluster Contrast.

    Args:
        backbone: name; ResNets are pooled by GeM.
        target: reader of the target, of which eps depends; others than MSMT17 have Market-1501's.

    Returns:
        Dotted name in the configuration of `cion unsupervised` -> value.

    Example:
        >>> cluster_contrast("resnet50", "msmt17")["clusters.eps"]
        0.7
    """
    pool = {"model.options.pool": "gem"} if backbone.startswith("resnet") else {}
    return {**CLUSTER_CONTRAST, **pool, "clusters.eps": EPS.get(target, EPS["market1501"])}
