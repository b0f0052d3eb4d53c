"""The command line: `vills run|prepare|lse|pretrain|finetune|evaluate|sync`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from reid_core.recipe.old_stage import StageError
from vills.check import check
from vills.config import Config

COMMANDS = {
    "run": "the whole recipe",
    "prepare": "read the sources into manifests",
    "lse": "and segment every image",
    "pretrain": "and pre-train",
    "finetune": "and fine-tune",
    "evaluate": "and evaluate",
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
        if parsed.subcommand == "sync":
            return _sync(chosen)
        return _run(parser, parsed)
    except (ValueError, FileNotFoundError, StageError) as error:
        if chosen.traceback:
            raise
        print(f"vills: {error}", file=sys.stderr)
        return 1


def build_parser() -> ArgumentParser:
    """The parser, with every option of `vills.config.Config` in each stage's command.

    Returns:
        The parser.

    Example:
        >>> build_parser().parse_args(["run", "--seed", "3"]).run.seed
        3
    """
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog="vills", description="VILLS end to end, each stage restartable.")
    commands = parser.add_subcommands(required=True)
    for name, what in COMMANDS.items():
        stage = ArgumentParser(description=f"{what}; earlier stages run first where they are not done")
        stage.add_argument("--config", action="config", help="YAML file; options behind it override it")
        stage.add_class_arguments(Config, as_group=False)
        stage.add_argument("--force", action="store_true", help="do it again even if it is done")
        stage.add_argument("--traceback", action="store_true", help="show where an error came from")
        commands.add_subcommand(name, stage, help=what)
    sync = ArgumentParser(description="Bring what a tracking server has missed to it.")
    sync.add_argument("folder", type=str, help="run folder, runs/EXPERIMENT/NAME")
    sync.add_argument("--tracking_uri", type=str | None, default=None, help="the run's own by default")
    sync.add_argument("--traceback", action="store_true", help="show where an error came from")
    commands.add_subcommand("sync", sync, help="bring a run's events to a tracking server later")
    return parser


def parse_config(arguments: Sequence[str]) -> Config:
    """The configuration that a command line means.

    Args:
        arguments: as for `main`.

    Returns:
        The typed configuration.

    Example:
        >>> parse_config(["run", "--pretrain.views", "1"]).pretrain.views
        1
    """
    parser = build_parser()
    return _config(parser, parser.parse_args(list(arguments)))


def _config(parser: ArgumentParser, parsed: Namespace) -> Config:
    chosen = parser.instantiate(parsed)[parsed.subcommand]
    values = {key: value for key, value in vars(chosen).items() if key in Config.__dataclass_fields__}
    return Config(**values)


def _run(parser: ArgumentParser, parsed: Namespace) -> int:
    config, force = _config(parser, parsed), parsed[parsed.subcommand].force
    check(config)
    from vills.recipe import run, run_all  # Lightning and MLflow take seconds, which a wrong root need not

    if parsed.subcommand == "run":
        run_all(config, force)
    else:
        run(config, parsed.subcommand, force)
    return 0


def _sync(chosen: Namespace) -> int:
    from reid_core.tracking.tracker import sync

    result = sync(chosen.folder, chosen.tracking_uri)
    print(f"sent {result.sent}, left {result.pending}, refused {result.refused}")
    if result.error:
        print(f"vills: the tracking server can't be reached ({result.error}); try again", file=sys.stderr)
    return 1 if result.error else 0


if __name__ == "__main__":
    sys.exit(main())
