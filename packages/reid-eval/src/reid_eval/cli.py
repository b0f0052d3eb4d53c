"""The command line: `reid-eval run|rerank|compare`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields

from jsonargparse import ArgumentParser

from reid_eval import __version__
from reid_eval.commands import compare, rerank, run
from reid_eval.defaults import Evaluation


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
    function = COMMANDS[parsed.subcommand]
    try:
        if function is not compare:
            options["evaluation"] = Evaluation(
                **{field.name: options.pop(field.name) for field in fields(Evaluation)}
            )
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: print(f"reid-eval: {message}", file=sys.stderr)
            function(**options)
    except (ValueError, TypeError, OSError) as error:
        if traceback:
            raise
        print(f"reid-eval: {error}", file=sys.stderr)
        return 1
    return 0


COMMANDS: dict[str, Callable[..., None]] = {"run": run, "rerank": rerank, "compare": compare}


def build_parser() -> ArgumentParser:
    """The parser: one command per function, one option per argument.

    Returns:
        The parser.

    Example:
        >>> build_parser().parse_args(["compare", "a.json", "b.json"]).compare.second
        'b.json'
    """
    parser = ArgumentParser(
        prog="reid-eval", description="Exact evaluation of person re-identification.", version=__version__
    )
    commands = parser.add_subcommands(required=True)
    for name, function in COMMANDS.items():
        what = (function.__doc__ or "").partition("\n")[0]
        command = ArgumentParser(description=what)
        if function is compare:
            command.add_function_arguments(function, as_group=False, as_positional=True)
        else:
            command.add_class_arguments(Evaluation, as_group=False, as_positional=False)
            command.add_function_arguments(function, as_group=False, as_positional=False, skip={"evaluation"})
        command.add_argument("--traceback", action="store_true", help="show where an error came from")
        commands.add_subcommand(name, command, help=what)
    return parser


if __name__ == "__main__":
    sys.exit(main())
