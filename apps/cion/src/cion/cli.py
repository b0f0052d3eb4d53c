"""The command line `cion`: pre-training's recipe, `cion unsupervised` and `cion zoo`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jsonargparse import ArgumentParser

from cion import __version__
from cion.pretraining.config import Config
from cion.unsupervised.config import Config as UnsupervisedConfig
from reid_core.cli.recipes import App, Parser
from reid_core.cli.recipes import main as run

UNSUPERVISED = "unsupervised"


def zoo_parser() -> ArgumentParser:
    """The parser of `cion zoo`."""
    parser = Parser(description="ReIDZoo's 32 models: what they are, their settings, their files.")
    parser.add_argument(
        "action",
        choices=["list", "config", "export", "load"],
        help="list the models, print their settings, export a model folder, or check that weights load",
    )
    parser.add_argument(
        "name", type=str | None, nargs="?", default=None, help="name of the model, as `list` shows it"
    )
    parser.add_argument(
        "--recipe",
        choices=["paper", "released"],
        default="paper",
        help="config: the paper's or the released code's values, where they differ",
    )
    parser.add_argument("--weights", type=str | None, help="export, load: checkpoint file of the backbone")
    parser.add_argument(
        "--accept-terms", action="store_true", help="export: ReIDZoo's conditions (CION A.3) are accepted"
    )
    parser.add_argument("--out", type=str | None, help="folder to write; config: gets one file per model")
    parser.add_argument("--data", type=str, default="", help="export: what it was trained on, for the card")
    parser.add_argument(
        "--results", type=str | None, help="export: evaluate/results.json of a run, for the card"
    )
    parser.add_argument("--tracking_uri", type=str | None, help="export: MLflow store to register it with")
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    return parser


APP = App(
    name="cion",
    description="CION end to end: denoised identities of tracked video, pre-training, fine-tuning and "
    f"evaluation. `cion {UNSUPERVISED} COMMAND` learns from images without labels.",
    version=__version__,
    config=Config,
    recipe="cion.pretraining.recipe:RECIPE",
    stages={
        "prepare": "read the sources into manifests",
        "tracklets": "take or track the videos' tracklets (runs earlier stages first, as do all)",
        "extractor": "train the model whose features are denoised by",
        "features": "extract features of the videos' images",
        "denoise": "seek identities among them",
        "pretrain": "pre-train",
        "tsne": "draw t-SNE of a few people as each pre-training leaves them (Fig. 4)",
        "finetune": "fine-tune",
        "evaluate": "evaluate",
    },
    tables="cion.pretraining.tables:TABLES",
    more={"zoo": ("the 32 models: list, config, export, load", zoo_parser, "cion.zoo.commands:run_zoo")},
)
UNSUPERVISED_APP = App(
    name=f"cion {UNSUPERVISED}",
    description="Cluster Contrast on images without labels: USL, and UDA with a labelled source.",
    version=__version__,
    config=UnsupervisedConfig,
    recipe="cion.unsupervised.recipe:RECIPE",
    stages={
        "prepare": "read the sources into manifests",
        "source": "train on the labelled source (runs earlier stages first, as do all)",
        "target": "learn from the target without its labels",
        "evaluate": "evaluate",
    },
    tables="cion.unsupervised.tables:TABLES",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: those behind the program's name; sys.argv's by default.

    Returns:
        Exit status: 0; 1 after an error that the user can mend; 130 and 143 when interrupted or terminated.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    return run(UNSUPERVISED_APP, given[1:]) if given[:1] == [UNSUPERVISED] else run(APP, given)


if __name__ == "__main__":
    sys.exit(main())
