"""Table 3: parameters beside the paper's, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import open_clip
import torch
from rich import box
from rich.table import Table

from reid_adapters import IDPromptLearner, count_parameters
from vsla_clip.config import Config
from vsla_clip.methods import METHODS, TABLE_3, attached

PAPER = {
    "baseline": (86.1, 86.1, 72.80, 63.62),
    "ft_clip": (127.4, 88.0, 78.11, 69.32),
    "ifa": (90.8, 4.7, 73.82, 65.12),
    "ifa_vsa": (132.1, 6.6, 79.01, 71.67),
    "vsla_clip": (140.0, 14.5, 79.70, 72.55),
    "vsla_clip_pbp": (140.0, 14.5, 81.29, 74.27),
}
"""Table 3: overall and tunable parameters in millions, mAP and Rank-1 on G2A-VReID in per cent."""
IDENTITIES = 930
"""Training identities of G2A-VReID (5.1), of whom each has a prompt."""


def parameters(name: str, identities: int = IDENTITIES) -> tuple[int, int]:
    """Parameters of a method at the paper's settings, counted on the meta device: no weight is made.

    With VSA the text tower counts as it is used, without the vocabulary's embedding, and the prompts of stage
    one are tunable. The losses' heads are not counted.

    Args:
        name: of METHODS.
        identities: of the training set.

    Returns:
        (all, tunable).

    Example:
        >>> parameters("ifa")
        (90871296, 4730880)
    """
    config, method = Config(), METHODS[name]
    with torch.device("meta"):
        settings = open_clip.get_model_config(config.clip.name)
        clip = open_clip.model.CLIP(**{key: settings[key] for key in ("embed_dim", "vision_cfg", "text_cfg")})
        overall, tunable = 0, 0
        if method.semantic:
            prompts = IDPromptLearner(clip, identities)
            overall += count_parameters(prompts).total
            tunable += count_parameters(prompts).trainable
        found = count_parameters(attached(config, clip.visual, method))
    return overall + found.total, tunable + found.trainable


def parameter_table() -> Table:
    """Table 3's rows with the parameters counted here beside the paper's."""
    table = Table(
        title="VSLA-CLIP Table 3: parameters at ViT-B/16, 256 x 128, in millions",
        caption="with VSA the paper has 1.2 M more overall, as many as CLIP-ReID's two classifiers (README)",
    )
    table.add_column("method")
    for heading in ("overall", "paper", "tunable", "paper"):
        table.add_column(heading, justify="right")
    for name in TABLE_3:
        overall, tunable = (f"{count / 1e6:.1f}" for count in parameters(name))
        theirs = PAPER[name]
        table.add_row(METHODS[name].title, overall, f"{theirs[0]:.1f}", tunable, f"{theirs[1]:.1f}")
    return table


def ablation_table(rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """What was measured, a line a method.

    Args:
        rows: method -> "parameters" and "results", as `recipe.run` returns them.

    Example:
        >>> found = {"mAP": 0.5, "rank_1": 0.75}
        >>> row = {"parameters": {"trainable": 0, "total": None}, "results": {"all": found}}
        >>> ablation_table({"frozen": row}).row_count
        1
    """
    directions = list(next(iter(rows.values()))["results"])
    table = Table(title="Retrieval of tracklets, %", box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("method", no_wrap=True)
    table.add_column("trainable\nM", justify="right")
    for direction in directions:
        mark = direction.replace(" to ", "\nto ")
        table.add_column(f"{mark}\nmAP", justify="right")
        table.add_column("\n\nR-1" if " to " in direction else "\nR-1", justify="right")
    for name, row in rows.items():
        cells = [
            f"{100 * row['results'][direction][metric]:.1f}"
            for direction in directions
            for metric in ("mAP", "rank_1")
        ]
        table.add_row(METHODS[name].title, f"{row['parameters']['trainable'] / 1e6:.2f}", *cells)
    return table
