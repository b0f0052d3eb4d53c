"""The command line of every recipe: `APP run | STAGE | ablate | status | losses | sync | gc | ...`."""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from reid_core.cli.nested import merge_nested
from reid_core.recipe.config import RecipeConfig

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
COMMON = {
    "ablate": "run the rows of a table of the paper, and write it beside the paper's numbers",
    "status": "list stages: state, size, time, owner, runs that use them",
    "losses": "draw the losses of the trainings of one or more runs",
    "sync": "bring what a tracking server has missed to it",
    "gc": "list stages that no run refers to, and with --yes remove them",
    "unlock": "remove the lock of a run or stage whose owner is gone",
    "config": "print the whole configuration that the options mean",
}


class Terminated(BaseException):
    """SIGTERM; like KeyboardInterrupt it passes by whoever catches Exception."""


@dataclass(frozen=True)
class App:
    """What the command line must know of an app before it imports anything heavy.

    Args:
        name: of the command, such as "vills".
        description: one line.
        version: the app's.
        config: its configuration, a `RecipeConfig`; its module imports no torch.
        recipe: its `Recipe`, as module:name.
        stages: names of stages, or groups of them, each with one line of help.
        tables: a dict of its `Table`s by name, as module:name.
        published: a function as module:name, from the parsed options to defaults of other options, dotted
            name -> value, such as a published recipe's; what a file or the command line gives overrides them.
        more: further commands: name -> (help, builder of its parser, module:function that takes its options).
    """

    name: str
    description: str
    version: str
    config: type[RecipeConfig]
    recipe: str
    stages: Mapping[str, str]
    tables: str = ""
    published: str = ""
    more: Mapping[str, tuple[str, Callable[[], ArgumentParser], str]] = field(default_factory=dict)


class Parser(ArgumentParser):
    """A parser that says what is wrong in one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:  # type: ignore[override]
        """Print the error and where help is, and exit with 1.

        Args:
            message: what is wrong.
            ex: what was raised.
        """
        first = next((line for line in str(message).splitlines() if line.strip()), "")
        print(f"{self.prog}: {first} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(1)


def main(app: App, arguments: Sequence[str] | None = None) -> int:
    """Run an app's command line.

    Args:
        app: the app.
        arguments: those behind the program's name; sys.argv's by default.

    Returns:
        Exit status: 0; 1 after an error that the user can mend; 130 and 143 when interrupted or terminated.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    commands = {"run": "the whole recipe", **app.stages, **COMMON}
    commands |= {name: about for name, (about, _, _) in app.more.items()}
    if not given or given[0] not in commands:
        return _top(app, commands, given)
    name, rest = given[0], given[1:]
    parser = app.more[name][1]() if name in app.more else build_parser(app, name)
    parser.prog = f"{app.name} {name}"
    try:
        parsed = _parse(app, parser, rest)
    except SystemExit as exit_:
        return int(exit_.code or 0)
    return run_guarded(app.name, lambda: _command(app, name, parser, parsed), parsed.get("traceback", False))


def run_guarded(program: str, work: Callable[[], int | None], traceback: bool = False) -> int:
    """Run a command; errors that the user can mend and signals become one line and an exit status.

    What a signal interrupts may raise an error of its own in the signal's place (a library's clean-up, a
    failed import): it counts as the signal.

    Args:
        program: its name, for messages.
        work: the command.
        traceback: show where an error came from.

    Returns:
        Exit status.
    """
    came: list[int] = []
    handlers: dict[int, Any] = {signal.SIGTERM: signal.getsignal(signal.SIGTERM)}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # in the background it may be ignored
        handlers[signal.SIGINT] = signal.default_int_handler

    def stop(number: int, frame: object) -> NoReturn:
        came.append(number)
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    for number in handlers:
        signal.signal(number, stop)
    try:
        status = work() or 0
        sys.stdout.flush()  # a reader that is gone is noticed here, and not at the interpreter's end
        return status
    except BaseException as error:
        if came or isinstance(error, KeyboardInterrupt | Terminated):
            print(f"{program}: stopped; the same command resumes", file=sys.stderr)
            return TERMINATED if signal.SIGTERM in came or isinstance(error, Terminated) else INTERRUPTED
        if isinstance(error, BrokenPipeError):  # `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        if traceback or not is_mendable(error):
            raise
        print(f"{program}: {one_line(error)}", file=sys.stderr)
        return 1
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def is_mendable(error: BaseException) -> bool:
    """Whether an error is the user's to mend: settings, files, disk, memory, device, a loss that blew up.

    Args:
        error: what was raised.

    Example:
        >>> is_mendable(FileNotFoundError("no such folder")), is_mendable(AttributeError("a bug"))
        (True, False)
    """
    from reid_core.files import OwnershipLost
    from reid_core.recipe.lease import Busy
    from reid_core.recipe.store import StageError

    kinds = (
        ValueError,
        OSError,
        ImportError,
        FloatingPointError,
        MemoryError,
        Busy,
        StageError,
        OwnershipLost,
    )
    named = ("OutOfMemoryError", "MisconfigurationException", "AcceleratorError")
    return isinstance(error, kinds) or type(error).__name__ in named


def one_line(error: BaseException) -> str:
    """An error's message on one line.

    Args:
        error: what was raised.

    Example:
        >>> one_line(OSError(28, "No space left on device", "runs/a"))
        "[Errno 28] No space left on device: 'runs/a'"
    """
    return " ".join(str(error).split()) or type(error).__name__


def build_parser(app: App, command: str) -> ArgumentParser:
    """The parser of one command.

    Args:
        app: the app.
        command: run, a stage, or one of COMMON.
    """
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    about = {"run": "the whole recipe", **app.stages, **COMMON}[command]
    parser = Parser(prog=f"{app.name} {command}", description=f"{about}.", allow_abbrev=False)
    if command in ("status", "gc"):
        parser.add_argument("--runs", type=str, default="runs", help="folder of all runs")
    if command == "gc":
        parser.add_argument("--yes", action="store_true", help="remove what is listed")
    if command == "sync":
        parser.add_argument("folder", type=str, help="run folder, runs/EXPERIMENT/NAME")
        parser.add_argument(
            "--tracking_uri", type=str | None, default=None, help="MLflow store; the run's own by default"
        )
    if command == "losses":
        parser.add_argument("runs", type=str, nargs="+", help="run folders, runs/EXPERIMENT/NAME")
        parser.add_argument(
            "--metric", type=str, default="loss", help="metric to draw, as it is logged, such as lr"
        )
        parser.add_argument(
            "--out", type=str, default="losses.png", help="picture to write: .png, .pdf or .svg"
        )
    if command == "unlock":
        parser.add_argument("folder", type=str, help="run folder, or a stage's below runs/stages")
    if command == "ablate":
        parser.add_argument(
            "table", type=str | None, nargs="?", default=None, help="name of the table, see --list"
        )
        parser.add_argument("--list", action="store_true", help="list the tables with the paper's numbers")
    if command in ("run", "config", "ablate", *app.stages):
        parser.usage = f"{app.name} {command} [--config FILE] [OPTIONS]"
        parser.add_argument(
            "--config", action="config", help="YAML file of settings; options behind it override it"
        )
        parser.add_class_arguments(app.config, as_group=False)
        _replace_lists(parser)
    if command in ("run", *app.stages):
        parser.add_argument(
            "--force",
            action="append",
            type=str,
            metavar="STAGE",
            help="do this stage again (the option may be repeated); its earlier output is set aside",
        )
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    return parser


def _replace_lists(parser: ArgumentParser) -> None:
    """Let a list that is given later replace the earlier one whole; `--NAME+` appends, `--NAME.FIELD` edits.

    jsonargparse (4.53) merges lists of equal length element by element, so that fields of an element that was
    replaced would survive, and has no setting against it: here it is not told the earlier list.
    """
    for action in parser._actions:
        if getattr(action, "_supports_append", False):
            action._check_type = _without_earlier_list(action._check_type)  # type: ignore[attr-defined]


def _without_earlier_list(check: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(check)  # its signature too, by which jsonargparse chooses the arguments
    def check_alone(value: Any, append: bool = False, cfg: Namespace | None = None, **more: Any) -> Any:
        whole = isinstance(value, str | list) and not append
        return check(value, append=append, cfg=None if whole else cfg, **more)

    return check_alone


def parse_config(app: App, arguments: Sequence[str]) -> Any:
    """The configuration that a command's options mean.

    Args:
        app: the app.
        arguments: command and options.
    """
    parser = build_parser(app, arguments[0])
    return _config(app, parser, _parse(app, parser, list(arguments[1:])))


def _parse(app: App, parser: ArgumentParser, arguments: Sequence[str]) -> Namespace:
    """Parse options; where they choose published settings, once more with these as the defaults."""
    parsed = parser.parse_args(merge_nested(app.config, parser, arguments))
    settings = load(app.published)(parsed) if app.published else None
    if not settings:
        return parsed
    parser.set_defaults(dict(settings))
    return parser.parse_args(merge_nested(app.config, parser, arguments))


def load(address: str) -> Any:
    """What module:name stands for.

    Args:
        address: module:name.

    Example:
        >>> load("math:floor")(1.5)
        1
    """
    module, _, name = address.partition(":")
    return getattr(importlib.import_module(module), name)


def _top(app: App, commands: Mapping[str, str], given: Sequence[str]) -> int:
    if given and given[0] == "--version":
        print(f"{app.name} {app.version}")
        return 0
    if given and given[0] not in ("-h", "--help"):
        print(f"{app.name}: no command {given[0]!r}; there are {', '.join(commands)}", file=sys.stderr)
        return 1
    width = max(map(len, commands))
    print(f"usage: {app.name} COMMAND [OPTIONS]\n\n{app.description}\n\ncommands:")
    print("\n".join(f"  {name:<{width}}  {what}" for name, what in commands.items()))
    print(
        f"\n{app.name} COMMAND --help explains a command's options; {app.name} --version prints the version."
    )
    return 0


def _command(app: App, name: str, parser: ArgumentParser, parsed: Namespace) -> int | None:
    if name in app.more:
        return load(app.more[name][2])(parsed)
    if name in ("status", "losses", "gc", "unlock", "sync"):
        return getattr(importlib.import_module("reid_core.cli.housekeeping"), name)(parsed)
    if name == "config":
        import yaml

        from reid_core.files import plain

        print(yaml.safe_dump(plain(_config(app, parser, parsed)), sort_keys=False), end="")
        return 0
    if name == "ablate" and (parsed.list or parsed.table is None):
        from reid_core.cli.housekeeping import list_tables

        return list_tables(load(app.tables) if app.tables else {})
    config = _config(app, parser, parsed)
    from reid_core.recipe.config import check_names

    check_names(config)
    _print_plan(app, name, config)
    if name == "ablate":
        from reid_core.recipe.tables import ablate

        tables = load(app.tables) if app.tables else {}
        if parsed.table not in tables:
            raise ValueError(f"no table {parsed.table!r}; there are {', '.join(tables) or 'none'}")
        found = ablate(load(app.recipe), config, tables[parsed.table])
        return int(any(one.incomplete for one in found))
    from reid_core.recipe.results import incomplete_results
    from reid_core.recipe.runner import run

    summaries = run(load(app.recipe), config, None if name == "run" else name, parsed.force or ())
    _say_where(config)
    return int(any(incomplete_results(summaries, config.allow_unreadable)))


def _say_where(config: RecipeConfig) -> None:
    from reid_core.processes import process_rank
    from reid_core.recipe.config import tracking_uri
    from reid_core.tracking.links import describe_page

    if process_rank() == 0:
        print(f"outputs: {config.folder}", file=sys.stderr)
        if page := describe_page(config.folder, tracking_uri(config)):
            print(f"charts: {page}", file=sys.stderr)


def _print_plan(app: App, name: str, config: RecipeConfig) -> None:
    """Say what is run and where, before libraries are imported and data and models checked, for seconds."""
    from reid_core.processes import process_rank

    if process_rank() == 0:
        whole = f"the whole recipe ({', '.join(app.stages)})"
        about = {"run": whole, "ablate": COMMON["ablate"], **app.stages}
        print(f"{app.name} {name}: {about[name]}, in {config.folder}", flush=True)


def _config(app: App, parser: ArgumentParser, parsed: Namespace) -> Any:
    chosen = vars(parser.instantiate(parsed))
    return app.config(
        **{key: value for key, value in chosen.items() if key in app.config.__dataclass_fields__}
    )
