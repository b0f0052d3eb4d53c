"""The command line `reid-gallery`."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Sequence
from typing import Any

from docstring_parser import parse
from jsonargparse import ActionYesNo

from reid_core.cli.recipes import Parser, run_guarded
from reid_gallery import __version__, commands

NAME = "reid-gallery"


def find_command(name: str) -> Callable[..., int]:
    """The function of a command.

    Args:
        name: of a module in `reid_gallery.commands`.
    """
    function: Callable[..., int] = getattr(importlib.import_module(f"{commands.__name__}.{name}"), name)
    return function


def list_commands() -> list[str]:
    """Names of the commands, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(commands.__path__))


def build_parser(name: str) -> Parser:
    """The parser of one command: its options are its function's arguments, keyword-only ones by name.

    Args:
        name: of the command.
    """
    function = find_command(name)
    parser = Parser(prog=f"{NAME} {name}", description=first_line(function), allow_abbrev=False)
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    named = {one.name for one in parameters if one.kind is one.KEYWORD_ONLY}
    several = {one.name for one in parameters if one.annotation == list[str]}
    switches = {one.name: one.default for one in parameters if one.annotation is bool}
    parser.add_function_arguments(function, as_group=False, as_positional=True, skip={*named, *several})
    explained = {one.arg_name: one.description for one in parse(function.__doc__ or "").params}
    for one in several - named:
        parser.add_argument(one, nargs="+", type=str, help=explained[one])
    for one in several & named:  # jsonargparse alone would have them as one argument, [a, b]
        parser.add_argument(f"--{one}", nargs="+", type=str, required=True, help=explained[one])
    skip: set[str | int] = {*({one.name for one in parameters} - named), *several, *switches}
    parser.add_function_arguments(function, as_group=False, as_positional=False, skip=skip)
    for one, default in switches.items():
        parser.add_argument(f"--{one}", action=ActionYesNo, default=default, help=explained[one])
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    return parser


def first_line(function: Callable[..., Any]) -> str:
    """What a function does, in one line.

    Args:
        function: with a docstring.

    Example:
        >>> first_line(first_line)
        'What a function does, in one line.'
    """
    return (function.__doc__ or "").partition("\n")[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: those behind the program's name; sys.argv's by default.

    Returns:
        Exit status: 0; 1 after an error that the user can mend, or where more is missing than is allowed; 130
        and 143 when interrupted or terminated.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        print(f"{NAME} {__version__}")
        return 0
    names = list_commands()
    if not given or given[0] not in names:
        return _top(names, given)
    try:
        options = build_parser(given[0]).parse_args(given[1:]).as_dict()
    except SystemExit as exit_:
        return int(exit_.code or 0)
    traceback = options.pop("traceback")
    return run_guarded(NAME, lambda: find_command(given[0])(**options), traceback)


def _top(names: Sequence[str], given: Sequence[str]) -> int:
    if given and given[0] not in ("-h", "--help"):
        print(f"{NAME}: no command {given[0]!r}; there are {', '.join(names)}", file=sys.stderr)
        return 1
    width = max(map(len, names), default=0)
    print(f"usage: {NAME} COMMAND [OPTIONS]\n\nUse a model of person re-identification.\n\ncommands:")
    for name in names:
        print(f"  {name:<{width}}  {first_line(find_command(name))}")
    print(f"\n{NAME} COMMAND --help explains a command's options; {NAME} --version prints the version.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
