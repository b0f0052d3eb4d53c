"""The command line: `cion unsupervised`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jsonargparse import ArgumentParser, set_parsing_settings

from cion.config import Config, check
from reid_core.stage import StageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: those behind the program's name; sys.argv's by default.

    Returns:
        Exit status: 0, or 1 after an error that the user can act on.
    """
    parser = build_parser()
    parsed = parser.parse_args(None if arguments is None else list(arguments))
    chosen = parser.instantiate(parsed)[parsed.subcommand]
    try:
        config = Config(**{name: chosen[name] for name in Config.__dataclass_fields__})
        check(config)
        from cion.recipe import unsupervised  # Lightning takes seconds, which a wrong root need not

        unsupervised(config, chosen.force)
    except (ValueError, FileNotFoundError, StageError) as error:
        if chosen.traceback:
            raise
        print(f"cion: {error}", file=sys.stderr)
        return 1
    return 0


def build_parser() -> ArgumentParser:
    """The parser, with every option of `cion.config.Config`.

    Returns:
        The parser.

    Example:
        >>> build_parser().parse_args(["unsupervised", "--clusters.eps", "0.7"]).unsupervised.clusters.eps
        0.7
    """
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog="cion", description="CION's recipes, each stage restartable.")
    commands = parser.add_subcommands(required=True)
    command = ArgumentParser(
        description="Cluster Contrast on images without labels: USL, and UDA with a source."
    )
    command.add_argument("--config", action="config", help="YAML file; options behind it override it")
    command.add_class_arguments(Config, as_group=False)
    command.add_argument("--force", action="store_true", help="do it again even if it is done")
    command.add_argument("--traceback", action="store_true", help="show where an error came from")
    commands.add_subcommand("unsupervised", command, help="fine-tuning without labels")
    return parser


if __name__ == "__main__":
    sys.exit(main())
