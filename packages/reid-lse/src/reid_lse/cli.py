"""The command line: `reid-lse extract|preview`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from jsonargparse import ArgumentParser

from reid_lse.batch import ERRORS_FILE, extract
from reid_lse.extraction import Extraction
from reid_lse.preview import preview

COMMANDS: dict[str, Callable[..., Any]] = {"extract": extract, "preview": preview}


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
    extraction = {field.name: options.pop(field.name) for field in fields(Extraction)}
    try:
        result = COMMANDS[parsed.subcommand](extraction=Extraction(**extraction), **options)
    except (ValueError, TypeError, OSError, ImportError) as error:
        if traceback:
            raise
        print(f"reid-lse: {error}", file=sys.stderr)
        return 1
    if parsed.subcommand == "preview":
        print(f"{options['out']}: {result} images")
        return 0
    found = ", ".join(f"{area} in {share:.1%}" for area, share in result.found.items())
    print(f"{options['out']}: {result.images} images in {result.shards} shards; found {found}")
    if result.unreadable:
        print(f"{result.unreadable} images could not be read: see {options['out']}/{ERRORS_FILE}")
    return 0


def build_parser() -> ArgumentParser:
    """The parser: a command a function, an option an argument of it or a field of Extraction.

    Returns:
        The parser.

    Example:
        >>> build_parser().parse_args(["extract", "crops", "out", "--pack", "32"]).extract.pack
        32
    """
    parser = ArgumentParser(prog="reid-lse", description="Local semantic extraction from person crops.")
    commands = parser.add_subcommands(required=True)
    for name, function in COMMANDS.items():
        what = (function.__doc__ or "").partition("\n")[0]
        command = ArgumentParser(description=what)
        command.add_function_arguments(function, as_group=False, as_positional=True, skip={"extraction"})
        command.add_class_arguments(Extraction, as_group=False, as_positional=False)
        command.add_argument("--traceback", action="store_true", help="show where an error came from")
        commands.add_subcommand(name, command, help=what)
    return parser


if __name__ == "__main__":
    sys.exit(main())
