"""The command line: `reid-denoise run|calibrate|inspect`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields

from jsonargparse import ArgumentParser

from reid_denoise import __version__
from reid_denoise.commands import calibrate, inspect, run
from reid_denoise.criteria import Criteria

COMMANDS: dict[str, Callable[..., None]] = {"run": run, "calibrate": calibrate, "inspect": inspect}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: those behind the program's name; sys.argv's by default.

    Returns:
        Exit status: 0, or 1 after an error that the user can act on.
    """
    parsed = build_parser().parse_args(None if arguments is None else list(arguments))
    options = parsed[parsed.subcommand].as_dict()
    traceback = options.pop("traceback")
    try:
        if parsed.subcommand == "run":
            options["criteria"] = Criteria(
                **{field.name: options.pop(field.name) for field in fields(Criteria)}
            )
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: print(
                f"reid-denoise: {message}", file=sys.stderr
            )
            COMMANDS[parsed.subcommand](**options)
    except (ValueError, TypeError, OSError, ImportError) as error:
        if traceback:
            raise
        print(f"reid-denoise: {error}", file=sys.stderr)
        return 1
    return 0


def build_parser() -> ArgumentParser:
    """The parser: one command per function, one option per argument.

    Returns:
        The parser.

    Example:
        >>> build_parser().parse_args(["inspect", "--identities=a.parquet", "--out=a.html"]).inspect.out
        'a.html'
    """
    parser = ArgumentParser(
        prog="reid-denoise", description="Identities out of noisy tracklets.", version=__version__
    )
    commands = parser.add_subcommands(required=True)
    for name, function in COMMANDS.items():
        what = (function.__doc__ or "").partition("\n")[0]
        command = ArgumentParser(description=what)
        if name == "run":
            command.add_class_arguments(Criteria, as_group=False, as_positional=False)
        command.add_function_arguments(function, as_group=False, as_positional=False, skip={"criteria"})
        command.add_argument("--traceback", action="store_true", help="show where an error came from")
        commands.add_subcommand(name, command, help=what)
    return parser


if __name__ == "__main__":
    sys.exit(main())
