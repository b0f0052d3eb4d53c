"""The command line `vills`."""

from __future__ import annotations

import sys
from functools import partial

from reid_core.cli import recipes
from vills import __version__
from vills.commands import attention_parser, curves_parser
from vills.config import Config

APP = recipes.App(
    name="vills",
    description="VILLS end to end: self-supervised video-image pre-training for person re-identification.",
    version=__version__,
    config=Config,
    recipe="vills.recipe:RECIPE",
    stages={
        "prepare": "read the sources into manifests",
        "tracklets": "track raw video, where there is some (data.raw)",
        "lse": "segment every image that is pre-trained on (runs earlier stages first)",
        "pretrain": "pre-train (runs earlier stages first)",
        "finetune": "fine-tune (runs earlier stages first)",
        "evaluate": "evaluate (runs earlier stages first)",
    },
    tables="vills.tables:TABLES",
    more={
        "attention": ("draw what models attend to", attention_parser, "vills.commands:attention"),
        "curves": ("draw accuracy per epoch of fine-tuning", curves_parser, "vills.commands:curves"),
    },
)

main = partial(recipes.main, APP)
"""Run the command line: its arguments, sys.argv's by default -> exit status."""

if __name__ == "__main__":
    sys.exit(main())
