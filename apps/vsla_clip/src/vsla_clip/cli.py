"""The command line `vsla-clip`."""

from __future__ import annotations

import sys
from functools import partial

from reid_core.cli import recipes
from vsla_clip import __version__
from vsla_clip.config import Config

APP = recipes.App(
    name="vsla-clip",
    description="VSLA-CLIP end to end: video person re-identification between ground and aerial cameras.",
    version=__version__,
    config=Config,
    recipe="vsla_clip.recipe:RECIPE",
    stages={
        "prepare": "read the data set into a manifest, or draw a synthetic one",
        "clip": "train a small CLIP on captioned synthetic people, where there are no weights",
        "stage1": "learn the identities' descriptions (runs earlier stages first)",
        "stage2": "train adapters, or the whole image encoder (runs earlier stages first)",
        "evaluate": "evaluate (runs earlier stages first)",
    },
    tables="vsla_clip.tables:TABLES",
    published="vsla_clip.published:settings",
    more={
        "parameters": (
            "count the parameters of Table 3's rows at the paper's sizes, beside the paper's",
            partial(recipes.Parser, description="Parameters of Table 3's rows, counted; no weight is made."),
            "vsla_clip.parameters:print_parameters",
        )
    },
)
main = partial(recipes.main, APP)
"""Run the command line: its arguments, sys.argv's by default -> exit status."""

if __name__ == "__main__":
    sys.exit(main())
