"""The table of ReIDZoo's 32 models: their pre-training settings and the paper's results."""

from __future__ import annotations

import difflib
from typing import Any, NamedTuple

from cion.published import DROP_PATH, DROP_PATH_MODELS, PRETRAINING
from reid_core.models.backbones import ZOO

GPUS = 8
"""V100s that each model was pre-trained on (CION 4.1)."""


class Published(NamedTuple):
    """What is published of a model, beside its structure (`reid_core.models.backbones.ZOO`).

    Attributes:
        batch_per_gpu: images on each of 8 GPUs; None where the paper's text doesn't say: its Tab. 5
            is a picture, of which the authors' README repeats ResNet50-IBN's row.
        local_views: of an image, for the same reason the README's 8 where it is not known.
        unsupervised: mAP and Rank-1 in per cent by Cluster Contrast (Tab. 6): MSMT17 -> Market-1501 and
            back (UDA), Market-1501 and MSMT17 (USL).
        supervised: mAP and Rank-1 on Market-1501 and MSMT17 by MGN (Tab. 4); None where not known, for Tab. 3
            is a picture too.
    """

    batch_per_gpu: int | None = None
    local_views: int = 8
    unsupervised: tuple[tuple[float, float], ...] | None = None
    supervised: tuple[tuple[float, float], ...] | None = None


UNSUPERVISED = ("MS->Mar", "Mar->MS", "Market-1501", "MSMT17")
"""Columns of Tab. 6."""

KNOWN: dict[str, Published] = {
    "resnet50": Published(unsupervised=((90.6, 96.1), (57.4, 81.3), (90.6, 95.7), (52.5, 78.3))),
    "resnet101": Published(unsupervised=((93.1, 96.8), (67.6, 86.9), (93.2, 97.0), (64.2, 85.2))),
    "resnet152": Published(unsupervised=((93.6, 97.0), (70.1, 88.1), (93.3, 97.1), (68.8, 87.6))),
    "resnet50_ibn": Published(
        batch_per_gpu=120,
        unsupervised=((92.1, 96.5), (62.7, 84.3), (91.4, 96.1), (59.4, 82.4)),
        supervised=((93.3, 97.3), (74.3, 89.8)),
    ),
    "resnet101_ibn": Published(unsupervised=((93.7, 96.8), (70.9, 88.2), (93.8, 96.7), (69.7, 88.2))),
    "resnet152_ibn": Published(unsupervised=((94.0, 97.1), (73.7, 89.2), (94.3, 97.1), (71.7, 89.0))),
    "vit_tiny": Published(unsupervised=((88.0, 94.7), (44.3, 69.3), (88.3, 94.5), (43.1, 69.6))),
    "vit_small": Published(unsupervised=((90.4, 95.6), (58.0, 79.9), (90.6, 95.6), (55.0, 78.4))),
    "vit_base": Published(unsupervised=((91.1, 95.9), (61.4, 82.9), (91.2, 96.1), (58.9, 82.3))),
}

MODELS: dict[str, Published] = {name: KNOWN.get(name, Published()) for name in ZOO}
"""All 32, in the paper's order."""

DEFAULT_BATCH_PER_GPU = 120
"""ResNet50-IBN's, where a model's own is not known."""


def model(name: str) -> Published:
    """A model's row.

    Args:
        name: as `cion zoo list` shows it.

    Returns:
        What is published.

    Raises:
        ValueError: an unknown name; the nearest are named.

    Example:
        >>> model("resnet50ibn")
        Traceback (most recent call last):
        ValueError: no model of the zoo is named 'resnet50ibn': ... resnet50_ibn, resnet50, resnet152_ibn?
    """
    if name not in MODELS:
        near = ", ".join(difflib.get_close_matches(name, MODELS, n=3, cutoff=0))
        raise ValueError(f"no model of the zoo is named {name!r}: did you mean {near}?")
    return MODELS[name]


def published_config(name: str, recipe: str = "paper") -> dict[str, Any]:
    """The published setting of a model, for `cion run --config`: CION-AL-like video in, Market-1501 out.

    Args:
        name: as `cion zoo list` shows it.
        recipe: "paper", or "released" for what the published code has where it differs.

    Returns:
        Nested options; what is not among them has its published value by default.

    Example:
        >>> published_config("vit_small")["pretrain"]["drop_path"]
        0.1
        >>> published_config("vit_small", "released")["pretrain"]["global_scale"]
        [0.8, 1.0]
    """
    row = model(name)
    drops = name.startswith(DROP_PATH_MODELS[recipe])
    return {
        "experiment": f"cion_{recipe}",
        "name": name,
        "model": {"backbone": name},
        "pretrain": {
            "batch": GPUS * (row.batch_per_gpu or DEFAULT_BATCH_PER_GPU),
            "local_views": row.local_views,
            "drop_path": DROP_PATH if drops else 0.0,
            **PRETRAINING[recipe],
        },
        "finetune": {"recipe": "released"},
        "runtime": {"devices": GPUS, "strategy": "ddp_find_unused_parameters_true", "workers": 8},
    }
