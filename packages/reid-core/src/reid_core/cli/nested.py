"""Options below a free dictionary, such as `--clip.small.vision_cfg.layers 12`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentParser, get_loader


def merge_nested(config: type, parser: ArgumentParser, arguments: Sequence[str]) -> list[str]:
    """Replace options that lead more than one level into a free dictionary by one of the whole dictionary.

    jsonargparse reads `--options.a 1`, but of `--options.a.b 1` it makes `{"a": {"b": "1"}}`: the number is
    text, and what `a` held in the configuration file is gone.

    Args:
        config: the configuration's dataclass.
        parser: of its options.
        arguments: the command line.

    Returns:
        The command line that says the same with each such option's value in its place.

    Example:
        >>> from dataclasses import dataclass, field
        >>> @dataclass
        ... class Config:
        ...     options: dict[str, dict | int] = field(default_factory=lambda: {"a": {"b": 2, "c": 3}})
        >>> parser = ArgumentParser()
        >>> _ = parser.add_class_arguments(Config, as_group=False)
        >>> merge_nested(Config, parser, ["--options.a.b", "1"])
        ['--options', '{"a": {"b": 1, "c": 3}}']
    """
    result: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        option, equals, value = argument.partition("=")
        keys = _split(config, option[2:]) if option.startswith("--") else None
        if keys is None:
            result.append(argument)
            continue
        text = value if equals else next(remaining, None)
        if text is None:
            parser.error(f"{option}: expected one argument")
        name, path = keys
        held = parser.parse_args(list(result)).get(name)
        try:
            merged = _put(held, path, _read(text))
        except TypeError as error:
            parser.error(f"{option}: {error}")
        result += [f"--{name}", json.dumps(merged, ensure_ascii=False)]
    return result


def _split(config: type, name: str) -> tuple[str, list[str]] | None:
    """A dotted name as that of a dictionary and two keys or more below it; None for any other option."""
    parts = name.split(".")
    kind: Any = config
    for depth, part in enumerate(parts, start=1):
        hint = get_type_hints(kind).get(part)
        union = get_origin(hint) in (Union, UnionType)
        kinds = [each for each in (get_args(hint) if union else (hint,)) if each is not NoneType]
        if any(get_origin(each) is dict for each in kinds):
            return (".".join(parts[:depth]), parts[depth:]) if len(parts) > depth + 1 else None
        if len(kinds) != 1 or not is_dataclass(kinds[0]):
            return None
        kind = kinds[0]
    return None


def _read(text: str) -> Any:
    """A value as the command line means it elsewhere: YAML, or else text."""
    try:
        return get_loader("yaml")(text)
    except yaml.YAMLError:
        return text


def _put(held: Any, path: Sequence[str], value: Any) -> Any:
    """A copy of nested dictionaries with another value at a path."""
    if not path:
        return value
    if not isinstance(held, Mapping | NoneType):
        raise TypeError(f"there is {held!r}, which has no {path[0]}")
    inner = {} if held is None else dict(held)
    return {**inner, path[0]: _put(inner.get(path[0]), path[1:], value)}
