"""The command line: `vsla-clip run|prepare|stage1|stage2|evaluate|ablate`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import cache

from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from reid_core.files import write_atomically
from reid_core.recipe.old_stage import StageError
from vsla_clip.check import check
from vsla_clip.config import Config

COMMANDS = {
    "run": "the whole recipe for config.method",
    "prepare": "read or write the data set",
    "stage1": "and learn the identities' descriptions",
    "stage2": "and train the adapters",
    "evaluate": "and evaluate",
    "ablate": "the whole recipe for each of config.rows: Table 3",
}
ABLATION_FILE = "ablation.json"


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
        return _run(parser, parsed)
    except (ValueError, FileNotFoundError, StageError) as error:
        if chosen.traceback:
            raise
        print(f"vsla-clip: {error}", file=sys.stderr)
        return 1


@cache
def build_parser() -> ArgumentParser:
    """The parser, with every option of `vsla_clip.config.Config` in each command; making it takes a second.

    Returns:
        The parser.

    Example:
        >>> build_parser().parse_args(["run", "--adapters.bottleneck", "128"]).run.adapters.bottleneck
        128
    """
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog="vsla-clip", description="VSLA-CLIP end to end, each stage restartable.")
    commands = parser.add_subcommands(required=True)
    for name, what in COMMANDS.items():
        command = ArgumentParser(description=f"{what}; earlier stages run first where they are not done")
        command.add_argument("--config", action="config", help="YAML file; options behind it override it")
        command.add_class_arguments(Config, as_group=False)
        command.add_argument("--force", action="store_true", help="do it again even if it is done")
        command.add_argument("--traceback", action="store_true", help="show where an error came from")
        if name == "ablate":
            command.add_argument(
                "--list", action="store_true", help="print Table 3's rows and their parameters, run nothing"
            )
        commands.add_subcommand(name, command, help=what)
    return parser


def parse_config(arguments: Sequence[str]) -> Config:
    """The configuration that a command line means.

    Args:
        arguments: as for `main`.

    Returns:
        The typed configuration.

    Example:
        >>> parse_config(["run", "--data.size", "[64, 32]"]).data.size
        (64, 32)
    """
    parser = build_parser()
    return _config(parser, parser.parse_args(list(arguments)))


def _config(parser: ArgumentParser, parsed: Namespace) -> Config:
    chosen = parser.instantiate(parsed)[parsed.subcommand]
    return Config(**{name: chosen[name] for name in Config.__dataclass_fields__})


def _run(parser: ArgumentParser, parsed: Namespace) -> int:
    from rich.console import Console

    name, chosen = parsed.subcommand, parsed[parsed.subcommand]
    console = Console()
    if name == "ablate" and chosen.list:
        from vsla_clip.tables import parameter_table

        console.print(parameter_table())
        return 0
    config = _config(parser, parsed)
    check(config)
    from vsla_clip.recipe import STAGES, run  # Lightning and MLflow take seconds, which a wrong root need not
    from vsla_clip.tables import ablation_table

    everything = name in ("run", "ablate")
    force = () if not chosen.force else ("clip", *STAGES) if everything else (name,)
    rows = run(
        config,
        config.rows if name == "ablate" else (),
        until="evaluate" if everything else name,
        force=force,
    )
    if rows:
        console.print(ablation_table(rows))
    if name == "ablate":
        write_atomically(config.folder / ABLATION_FILE, json.dumps(rows, indent=2) + "\n")
        print(f"written to {config.folder / ABLATION_FILE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
