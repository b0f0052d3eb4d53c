"""Every option of every command says what it is, a number its unit, and a name all names that there are."""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Collection, Iterator
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin

import pytest
from jsonargparse import ArgumentParser, capture_parser

from reid_core.cli.recipes import COMMON, App, build_parser
from reid_core.synthetic import World
from reid_core.video.tracking import TRACKERS
from reid_eval.protocols import PROTOCOLS
from reid_lse.areas import AREAS
from reid_lse.models import KEYPOINTS, SEGMENTERS
from vsla_clip.config import METHODS

FEWEST_WORDS = 3
UNITS = (
    *("pixels", "seconds", "epoch", "epochs", "step", "steps", "rounds"),
    *("image", "images", "crops", "clip", "clips", "frame", "frames", "pictures", "views", "tracklets"),
    *("videos", "batches", "shards", "rows", "tokens", "patches", "prompts", "prototypes", "clusters"),
    *("identities", "links", "queries", "answers", "galleries", "neighbours", "encodings", "camera"),
    *("channel", "channels", "columns", "layers", "heads", "machines", "devices", "processes", "threads"),
    *("from 0 to 1", "between 0 and 1", "share", "shares", "probability", "confidence", "rate", "rates"),
    *("factor", "weight", "weight decay", "temperature", "momentum", "margin", "norm", "distance"),
    *("number of", "number that seeds"),
)
"""What a number may be of; shares, rates, factors and weights have no unit and are said to be that."""
UNIT = re.compile(rf"\b({'|'.join(UNITS)})\b", re.IGNORECASE)
NAMES: dict[str, Collection[str]] = {
    "protocol": PROTOCOLS,
    "keypoints": KEYPOINTS,
    "segmenter": SEGMENTERS,
    "areas": AREAS,
    "tracker": TRACKERS,
    "method": METHODS,
    "world": [field.name for field in fields(World)],
    "backbone": (),
}
"""Last part of an option's name -> the names that it may have; none where there are too many to print."""
LISTED = re.compile(
    r"`reid-(data list|models list|eval run --help|lse extract --help)`|some of lse's|as in data.synthetic"
)
"""Where else names are listed."""
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


def nested_parsers(parsers: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """The parsers, and one for each section that an option may hold, whose help is behind `--OPTION.help`."""
    known = set()
    for command, parser in parsers:
        yield command, parser
        for name, kind, _ in options(parser):
            for section in filter(is_dataclass, (kind, *get_args(kind))):
                if section not in known:
                    known.add(section)
                    nested = ArgumentParser()
                    nested.add_class_arguments(section, as_group=False)
                    yield f"{command} {name}", nested


def options(parser: Any) -> Iterator[tuple[str, Any, str]]:
    """Name, type and help of each option; what argparse and jsonargparse add of their own is left out."""
    for action in parser._actions:
        name = (action.option_strings or [action.dest])[0]
        if (
            not isinstance(action, argparse._HelpAction)
            and not name.startswith("--print_")
            and not name.endswith(".help")
        ):
            text = "" if action.help in (None, argparse.SUPPRESS) else " ".join(str(action.help).split())
            yield name, getattr(action, "_typehint", None) or action.type, text


def is_number(kind: Any) -> bool:
    """Whether a type is a number, several of them, or such a one or None."""
    if get_origin(kind) in (Union, UnionType, tuple, list):
        return any(map(is_number, get_args(kind))) and str not in get_args(kind)
    return kind in (int, float)


def unitless(parsers: Iterator[tuple[str, Any]]) -> set[str]:
    """Options that are numbers and don't say what of."""
    return {
        f"{command} {name}: {text!r}"
        for command, parser in parsers
        for name, kind, text in options(parser)
        if is_number(kind) and not UNIT.search(text)
    }


def unnamed(parsers: Iterator[tuple[str, Any]]) -> set[str]:
    """Options whose value is one of several names, which the help neither has nor says where they are."""
    found = set()
    for command, parser in parsers:
        for name, kind, text in options(parser):
            known = NAMES.get(name.rpartition(".")[2].lstrip("-"))
            named = get_origin(kind) is dict or kind in (str, str | None, list[str])
            if known is None or not named or LISTED.search(text):
                continue
            spoken = text + "_video" * ("_video" in text)
            if missing := [one for one in known if one.removesuffix("_video") not in spoken] or not known:
                found.add(f"{command} {name}: {missing}")
    return found


def short(parsers: Iterator[tuple[str, Any]]) -> set[str]:
    """Options without help, or with less than FEWEST_WORDS words of it."""
    return {
        f"{command} {name}: {text!r}"
        for command, parser in parsers
        for name, _, text in options(parser)
        if len(text.split()) < FEWEST_WORDS
    }


@pytest.fixture(scope="module", params=[*RECIPES, *PROGRAMS, "reid-gallery"])
def parsers(request: pytest.FixtureRequest) -> list[tuple[str, Any]]:
    """Commands of a program with their parsers."""
    if request.param in RECIPES:
        return list(nested_parsers(recipe_parsers(RECIPES[request.param])))
    return list(member_parsers(request.param) if request.param in PROGRAMS else gallery_parsers())


def test_every_option_is_explained(parsers: list[tuple[str, Any]]) -> None:
    assert short(iter(parsers)) == set()


def test_every_number_says_what_of(parsers: list[tuple[str, Any]]) -> None:
    assert unitless(iter(parsers)) == set()


def test_every_name_is_listed_or_its_list_is_named(parsers: list[tuple[str, Any]]) -> None:
    assert unnamed(iter(parsers)) == set()


def test_poor_help_would_be_found() -> None:
    parser = ArgumentParser()
    parser.add_argument("--bare", type=int)
    parser.add_argument("--size", type=int | None, help="how large it is")
    parser.add_argument("--width", type=tuple[int, int], help="width in pixels")
    parser.add_argument("--tracker", type=str, help="bytetrack or another tracker")
    parser.add_argument("--backbone", type=str, help="the backbone's name")
    given = [("run", parser)]
    assert short(iter(given)) == {"run --bare: ''"}
    assert unitless(iter(given)) == {"run --bare: ''", "run --size: 'how large it is'"}
    assert {found.split(":")[0] for found in unnamed(iter(given))} == {"run --tracker", "run --backbone"}
