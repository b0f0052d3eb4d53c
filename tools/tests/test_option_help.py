"""Every option of every command says what it is."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator
from typing import Any

import pytest
from jsonargparse import ArgumentParser, capture_parser

from reid_core.cli.recipes import COMMON, App, build_parser

FEWEST_WORDS = 3
RECIPES = {
    "vills": "vills.cli:APP",
    "cion": "cion.cli:APP",
    "cion unsupervised": "cion.cli:UNSUPERVISED_APP",
    "vsla-clip": "vsla_clip.cli:APP",
}
PROGRAMS = {
    "reid-data": "reid_core.cli.data",
    "reid-models": "reid_core.cli.models",
    "reid-eval": "reid_eval.cli",
    "reid-denoise": "reid_denoise.cli",
    "reid-lse": "reid_lse.cli",
}


def recipe_parsers(address: str) -> Iterator[tuple[str, Any]]:
    """Command -> parser, of a recipe's app."""
    module, _, name = address.partition(":")
    app: App = getattr(importlib.import_module(module), name)
    for command in ("run", *COMMON):
        yield command, build_parser(app, command)
    for command, (_, build, _) in app.more.items():
        yield command, build()


def member_parsers(command: str) -> Iterator[tuple[str, Any]]:
    """Command -> parser, of a program with commands of its own."""
    module = importlib.import_module(PROGRAMS[command])
    parser = module.build_parser() if hasattr(module, "build_parser") else capture_parser(module.main, [])
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action._name_parser_map.items()


def gallery_parsers() -> Iterator[tuple[str, Any]]:
    from reid_gallery.cli import build_parser, list_commands

    for command in list_commands():
        yield command, build_parser(command)


def options(parser: Any) -> Iterator[tuple[str, str]]:
    """Name and help of each option; what argparse and jsonargparse add of their own is left out."""
    for action in parser._actions:
        name = (action.option_strings or [action.dest])[0]
        if (
            not isinstance(action, argparse._HelpAction)
            and not name.startswith("--print_")
            and not name.endswith(".help")
        ):
            yield name, "" if action.help in (None, argparse.SUPPRESS) else str(action.help)


def short(parsers: Iterator[tuple[str, Any]]) -> set[str]:
    """Options without help, or with less than FEWEST_WORDS words of it."""
    return {
        f"{command} {name}: {text!r}"
        for command, parser in parsers
        for name, text in options(parser)
        if len(text.split()) < FEWEST_WORDS
    }


@pytest.mark.parametrize("app", RECIPES)
def test_every_option_of_a_recipe_is_explained(app: str) -> None:
    assert short(recipe_parsers(RECIPES[app])) == set()


@pytest.mark.parametrize("command", PROGRAMS)
def test_every_option_of_a_package_is_explained(command: str) -> None:
    assert short(member_parsers(command)) == set()


def test_every_option_of_the_gallery_is_explained() -> None:
    assert short(gallery_parsers()) == set()


def test_an_option_without_help_would_be_found() -> None:
    parser = ArgumentParser()
    parser.add_argument("--bare", type=int)
    parser.add_argument("--well", type=int, help="how many of them there are")
    assert short(iter([("run", parser)])) == {"run --bare: ''"}
