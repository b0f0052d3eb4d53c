"""The command line `vills`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from reid_core.cli.recipes import App
from reid_core.cli.recipes import main as run
from vills import __version__
from vills.config import Config

APP = App(
    name="vills",
    description="VILLS end to end: self-supervised video-image pre-training for person re-identification.",
    version=__version__,
    config=Config,
    recipe="vills.recipe:RECIPE",
    stages={
        "prepare": "read the sources into manifests",
        "lse": "segment every image that is pre-trained on (runs earlier stages first)",
        "pretrain": "pre-train (runs earlier stages first)",
        "finetune": "fine-tune (runs earlier stages first)",
        "evaluate": "evaluate (runs earlier stages first)",
    },
    tables="vills.tables:TABLES",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: those behind the program's name; sys.argv's by default.

    Returns:
        Exit status: 0; 1 after an error that the user can mend; 130 and 143 when interrupted or terminated.
    """
    return run(APP, arguments)


if __name__ == "__main__":
    sys.exit(main())
