"""Options below a free dictionary are read as they are in a configuration file, at any depth."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest

from reid_core.cli import recipes
from reid_core.options import Options
from reid_core.recipe import RecipeConfig, Synthetic

HELD = {"width": 96, "tower": {"layers": 3, "mlp": {"ratio": 4.0, "bias": True}}}


@dataclass
class Config(RecipeConfig):
    model: Options = field(default_factory=lambda: dict(HELD))
    nothing: Options | None = None
    synthetic: Synthetic | None = field(
        default_factory=lambda: Synthetic(layouts={"mars": {"frames": 4, "stride": 12}})
    )


APP = recipes.App("toy", "A toy.", "1", Config, "", {})


def parse(*options):
    return recipes.parse_config(APP, ["run", *options])


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("width", "64", 64),
        ("tower.layers", "12", 12),
        ("tower.mlp.ratio", "1e-5", 1e-5),
        ("tower.mlp.bias", "false", False),
        ("tower.mlp.sizes", "[1, 2]", [1, 2]),
        ("tower.mlp.bias", "null", None),
        ("tower.name", "a: [", "a: ["),
        ("tower.new.deep", "x", "x"),
    ],
)
@pytest.mark.parametrize("joined", [True, False])
def test_a_value_has_its_type_and_its_neighbours_stay(option, value, expected, joined):
    name = f"--model.{option}"
    model = parse(*[f"{name}={value}"] if joined else [name, value]).model
    assert type(at(model, option)) is type(expected) and at(model, option) == expected
    others = {key: held for key, held in flat(HELD).items() if key != option}
    assert others.items() <= flat(model).items()


def test_the_last_option_wins_whatever_its_depth():
    whole = ["--model.tower", "{layers: 1}"]
    deep = ["--model.tower.layers", "2", "--model.tower.heads", "8"]
    assert parse(*whole, *deep).model["tower"] == {"layers": 2, "heads": 8}
    assert parse(*deep, *whole).model["tower"] == {"layers": 1}


def test_a_dictionary_of_dictionaries_and_one_that_is_not_there_are_filled():
    config = parse("--synthetic.layouts.mars.frames", "3", "--nothing.a.b", "1")
    assert config.synthetic.layouts == {"mars": {"frames": 3, "stride": 12}}
    assert config.nothing == {"a": {"b": 1}}


@pytest.mark.parametrize("options", [["--model.width.layers", "3"], ["--model.tower.layers"]])
def test_what_has_no_meaning_is_named(options, capsys):
    assert recipes.main(APP, ["run", *options]) == 1
    assert options[0] in (said := capsys.readouterr().err) and said.count("\n") == 1


@pytest.mark.parametrize(
    "held", ["12", "1e5", "true", "null", "a: b, [c]", "Fußgänger", 1e-5, None, [1, {"a": "2"}]]
)
def test_what_a_dictionary_holds_survives_a_change_below_it(held):
    config = parse("--model", json.dumps({"tower": {"held": held}}), "--model.tower.changed", "1")
    assert config.model == {"tower": {"held": held, "changed": 1}}


def at(value, path):
    for key in path.split("."):
        value = value[key]
    return value


def flat(value, prefix=""):
    found = {}
    for key, inner in value.items():
        found |= flat(inner, f"{prefix}{key}.") if isinstance(inner, dict) else {f"{prefix}{key}": inner}
    return found
