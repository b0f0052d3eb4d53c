"""The command line: `cion run`, its stages, `ablate`, `unsupervised` and `zoo`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from cion.config import Config, check
from cion.pipeline.config import RunConfig
from reid_core.recipe.old_stage import StageError

STAGES = {
    "run": "the whole recipe",
    "tracklets": "read, write or track the videos, and read the target",
    "features": "and extract features of the videos' images",
    "denoise": "and seek identities among them",
    "pretrain": "and pre-train",
    "finetune": "and fine-tune",
    "evaluate": "and evaluate",
}
ABLATIONS = {
    "levels": "Fig. 5: denoising up to each level",
    "methods": "Tab. 4: no pre-training, DINO, CION",
    "ratio": "Fig. 6 and 7: a part of the identities, and its time",
    "tsne": "Fig. 4: t-SNE of 15 people of the gallery, 20 images each, as pre-training leaves them",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: those behind the program's name; sys.argv's by default.

    Returns:
        Exit status: 0, or 1 after an error that the user can act on.
    """
    parser = build_parser()
    parsed = parser.parse_args(None if arguments is None else list(arguments))
    chosen = parsed[parsed.subcommand]
    try:
        _run(parser, parsed)
    except (ValueError, FileNotFoundError, StageError) as error:
        if chosen.traceback:
            raise
        print(f"cion: {error}", file=sys.stderr)
        return 1
    return 0


@cache
def build_parser() -> ArgumentParser:
    """The parser: every option of `cion.pipeline.config.RunConfig` in each stage's command, of
    `cion.config.Config` in `unsupervised`; making it takes a second.

    Returns:
        The parser.

    Example:
        >>> build_parser().parse_args(["unsupervised", "--clusters.eps", "0.7"]).unsupervised.clusters.eps
        0.7
        >>> build_parser().parse_args(["run", "--pretrain.batch", "64"]).run.pretrain.batch
        64
    """
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog="cion", description="CION's recipes, each stage restartable.")
    commands = parser.add_subcommands(required=True)
    for name, what in STAGES.items():
        about = f"{what}; earlier stages run first where they are not done"
        commands.add_subcommand(name, _command(RunConfig, about), help=what)
    ablate = _command(RunConfig, "The paper's ablations; what they share is done once.")
    ablate.add_argument(
        "--tables",
        type=list[str],
        default=list(ABLATIONS),
        help="; ".join(f"{name}, {what}" for name, what in ABLATIONS.items()),
    )
    ablate.add_argument(
        "--ratios", type=list[float], default=[0.1, 0.25, 0.5, 0.75, 1.0], help="for the table ratio"
    )
    commands.add_subcommand("ablate", ablate, help="the paper's ablations")
    about = "Cluster Contrast on images without labels: USL, and UDA with a source."
    commands.add_subcommand("unsupervised", _command(Config, about), help="fine-tuning without labels")
    commands.add_subcommand("zoo", _zoo_command(), help="the 32 models: list, config, export, load")
    return parser


def parse_config(arguments: Sequence[str]) -> RunConfig:
    """The configuration that a command line means.

    Args:
        arguments: as for `main`, of any command but `unsupervised` and `zoo`.

    Returns:
        The typed configuration.

    Example:
        >>> parse_config(["run", "--model.image_size", "[64, 32]"]).model.image_size
        (64, 32)
    """
    parser = build_parser()
    return _config(parser, parser.parse_args(list(arguments)), RunConfig)


def _command(config: type, about: str) -> ArgumentParser:
    command = ArgumentParser(description=about)
    command.add_argument("--config", action="config", help="YAML file; options behind it override it")
    command.add_class_arguments(config, as_group=False)
    command.add_argument("--force", action="store_true", help="do it again even if it is done")
    command.add_argument("--traceback", action="store_true", help="show where an error came from")
    return command


def _zoo_command() -> ArgumentParser:
    command = ArgumentParser(description="ReIDZoo's 32 models: what they are, their settings, their files.")
    command.add_argument("action", choices=["list", "config", "export", "load"], help="what to do")
    command.add_argument("name", type=str | None, nargs="?", default=None, help="model, as `list` shows it")
    command.add_argument("--weights", type=str | None, help="export: a pre-training's backbone.safetensors")
    command.add_argument("--out", type=str | None, help="export: folder to write; load: folder to read")
    command.add_argument(
        "--data", type=str, default="", help="export: what it was pre-trained on, for the card"
    )
    command.add_argument("--results", type=str | None, help="export: results.json of a run, for the card")
    command.add_argument("--tracking_uri", type=str | None, help="export: MLflow store to register it with")
    command.add_argument("--traceback", action="store_true", help="show where an error came from")
    return command


def _config(parser: ArgumentParser, parsed: Namespace, kind: type) -> Any:
    chosen = parser.instantiate(parsed)[parsed.subcommand]
    return kind(**{name: chosen[name] for name in kind.__dataclass_fields__})  # type: ignore[attr-defined]


def _run(parser: ArgumentParser, parsed: Namespace) -> None:
    """Lightning and MLflow take seconds, which a wrong root need not: they are imported behind the checks."""
    name, chosen = parsed.subcommand, parsed[parsed.subcommand]
    if name == "unsupervised":
        config = _config(parser, parsed, Config)
        check(config)
        from cion.recipe import unsupervised

        unsupervised(config, chosen.force)
    elif name == "zoo":
        from cion.zoo.commands import run_zoo

        run_zoo(chosen)
    elif name == "ablate":
        from cion.pipeline.ablate import ablate

        ablate(_config(parser, parsed, RunConfig), chosen.tables, chosen.ratios)
    else:
        from cion.pipeline.check import check as check_run

        settings = _config(parser, parsed, RunConfig)
        check_run(settings)
        from cion.pipeline.recipe import run

        run(settings, "evaluate" if name == "run" else name, chosen.force)


if __name__ == "__main__":
    sys.exit(main())
