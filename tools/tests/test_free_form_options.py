"""What a configuration passes on as it is stays data: nothing that it names is imported or called."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

import pytest
from jsonargparse import ArgumentParser

import cion.config
import reid_lse.extraction
import vills.config
import vsla_clip.config
from reid_core.cli.data import main
from reid_core.recipe import sources

FIELDS = [
    (sources.Source, "options"),
    (sources.Synthetic, "world"),
    (sources.Synthetic, "layouts"),
    (reid_lse.extraction.Extraction, "keypoint_options"),
    (reid_lse.extraction.Extraction, "segmenter_options"),
    (cion.config.Network, "options"),
    (vills.config.ModelConfig, "options"),
    (vills.config.LSEConfig, "keypoint_options"),
    (vills.config.LSEConfig, "segmenter_options"),
    (vsla_clip.config.Captioned, "world"),
    (vsla_clip.config.CLIPConfig, "small"),
]


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Name of a module that a configuration could name; whoever imports it is found out."""
    (tmp_path / "named_by_a_file.py").write_text("class Harm:\n    def __init__(self, x: int = 1): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "named_by_a_file", raising=False)
    return "named_by_a_file"


@pytest.mark.parametrize(("config", "field"), FIELDS)
@pytest.mark.parametrize("nested", [lambda spec: {"x": spec}, lambda spec: {"x": {"y": [spec]}}])
def test_a_class_path_is_data(config: type, field: str, nested: Any, module: str) -> None:
    given = nested({"class_path": f"{module}.Harm", "init_args": {"x": 2}})
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(config, "c", fail_untyped=False)
    options = [f"--c.{field}", json.dumps(given)]
    options += [
        f"--c.{f.name}=x"
        for f in dataclasses.fields(config)
        if f.default is f.default_factory is dataclasses.MISSING
    ]
    built = parser.instantiate(parser.parse_args(options)).c
    assert getattr(built, field) == given
    assert module not in sys.modules


def test_a_class_path_in_a_command_s_options_is_data(module: str, tmp_path, capsys) -> None:
    spec = json.dumps({"class_path": f"{module}.Harm"})
    assert main(["stats", "viper", "--root", str(tmp_path), "--options.split", spec]) == 1
    assert module not in sys.modules


def test_options_keep_their_types_from_the_command_line() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(sources.Source, "c")
    values = {"a": "3", "b": "0.5", "c": "x", "d": "true", "e": "[1, 2]", "f": "null"}
    chosen = [part for name, value in values.items() for part in (f"--c.options.{name}", value)]
    parsed = parser.instantiate(parser.parse_args(["--c.name", "viper", *chosen]))
    assert parsed.c.options == {"a": 3, "b": 0.5, "c": "x", "d": True, "e": [1, 2], "f": None}
