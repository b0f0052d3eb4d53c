"""The command line: `reid-lse extract|preview|export|weights`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from jsonargparse import ArgumentParser

import reid_lse
from reid_lse.batch import QUANTILES, Summary, extract
from reid_lse.export import export
from reid_lse.extraction import Extraction
from reid_lse.preview import preview
from reid_lse.weights import fetch_weights

COMMANDS: dict[str, Callable[..., Any]] = {
    "extract": extract,
    "preview": preview,
    "export": export,
    "weights": fetch_weights,
}


WITH_EXTRACTION = extract, preview
ALLOWED = 0.01


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: those behind the program's name; sys.argv's by default.

    Returns:
        Exit status: 0, or 1 after an error that the user can act on.
    """
    parsed = build_parser().parse_args(None if arguments is None else list(arguments))
    command = parsed.subcommand
    options = parsed[command].as_dict()
    traceback = options.pop("traceback")
    allowed = options.pop("allow_unreadable", 0.0)
    if COMMANDS[command] in WITH_EXTRACTION:
        chosen = {field.name: options.pop(field.name) for field in fields(Extraction)}
        options["extraction"] = Extraction(**chosen)
    try:
        result = COMMANDS[command](**options)
    except (ValueError, TypeError, OSError, ImportError) as error:
        if traceback:
            raise
        print(f"reid-lse: {error}", file=sys.stderr)
        return 1
    if command == "extract":
        return _report(result, options["out"], allowed)
    print(result if command == "weights" else f"{options['out']}: {result} images")
    return 0


def _report(summary: Summary, out: str, allowed: float) -> int:
    """Print what an extraction holds, with each area's quality; 1 where more is missing than is allowed."""
    print(f"{out}: {summary.images} images in {summary.shards} shards")
    if summary.missing:
        print(f"{summary.missing} shards of other parts are not there yet")
    levels = ", ".join(f"{share:.0%}" for share in QUANTILES)
    print(f"area: valid in, quality not exceeded by {levels} of the images")
    for area, share in summary.found.items():
        print(f"{area}: {share:.1%}, {', '.join(f'{level:.2f}' for level in summary.quality[area])}")
    if summary.unreadable:
        print(f"{summary.unreadable} images could not be read: see {out}/_errors.csv")
    if summary.unreachable:
        print(f"{summary.unreachable} of them could not be reached: the same command tries them again")
    return int(bool(summary.unreachable) or summary.unreadable > allowed * summary.images)


def build_parser() -> ArgumentParser:
    """The parser: one command per function; its options are the arguments and the fields of Extraction.

    Returns:
        The parser.

    Example:
        >>> build_parser().parse_args(["extract", "crops", "out", "--segmenter", "grabcut"]).extract.segmenter
        'grabcut'
    """
    what = "Local semantic extraction from person crops."
    parser = ArgumentParser(prog="reid-lse", description=what, version=reid_lse.__version__)
    commands = parser.add_subcommands(required=True)
    for name, function in COMMANDS.items():
        what = (function.__doc__ or "").partition("\n")[0]
        command = ArgumentParser(description=what)
        command.add_function_arguments(function, as_group=False, as_positional=True, skip={"extraction"})
        if function in WITH_EXTRACTION:
            command.add_class_arguments(Extraction, as_group=False, as_positional=False)
        if function is extract:
            command.add_argument(
                "--allow_unreadable",
                type=float,
                default=ALLOWED,
                help="share of the images, from 0 to 1, that may be unreadable; more makes the exit status 1",
            )
        command.add_argument("--traceback", action="store_true", help="show where an error came from")
        commands.add_subcommand(name, command, help=what)
    return parser


if __name__ == "__main__":
    sys.exit(main())
