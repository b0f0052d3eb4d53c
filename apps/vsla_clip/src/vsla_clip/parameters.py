"""Parameters of Table 3's rows at the paper's sizes, counted, beside the paper's."""

from __future__ import annotations

from typing import Any

import torch

from reid_core.recipe.tables import print_lines
from vsla_clip.clip import adapt, build_architecture, build_prompts
from vsla_clip.config import METHODS, Config, adaptation, architecture
from vsla_clip.stages.stage2 import count
from vsla_clip.tables import PARAMETERS, TABLE_3

IDENTITIES = 930
"""Training identities of G2A-VReID (5.1), of whom each has a prompt."""
TITLE = "VSLA-CLIP Tab. 3: parameters at ViT-B/16 and 256 x 128, in millions"


def parameters(name: str, identities: int = IDENTITIES) -> tuple[int, int]:
    """Parameters of a method at the paper's settings, counted on the meta device: no weight is made.

    With VSA the text tower counts as it is used, without the vocabulary's embedding, and the prompts of stage
    one are tunable. The losses' heads are not counted.

    Args:
        name: of METHODS.
        identities: of the training set.

    Returns:
        (overall, tunable).

    Example:
        >>> parameters("ifa")
        (90871296, 4730880)
    """
    config = Config(method=name)
    with torch.device("meta"):
        clip = build_architecture(architecture(config), config.data.size)
        prompts = build_prompts(config.stage1, clip, identities) if METHODS[name].semantic else None
        found = count(adapt(clip.visual, adaptation(config), config.data.size), prompts)
    return found["overall"], found["tunable"]


def print_parameters(options: Any = None) -> None:
    """Print Table 3's rows with the parameters counted here beside the paper's.

    Args:
        options: of the command line; there are none.
    """
    lines = [["", "overall", "paper", "tunable", "paper"]]
    for row in TABLE_3.rows:
        ours = (f"{number / 1e6:.1f}" for number in parameters(row.overrides["method"]))
        pairs = zip(ours, map(row.format_number, PARAMETERS), strict=True)
        lines.append([row.title, *(cell for pair in pairs for cell in pair)])
    print_lines(TITLE, lines)
