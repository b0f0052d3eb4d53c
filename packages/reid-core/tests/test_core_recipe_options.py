"""What a recipe's options mean: defaults, files and the command line, each over the one before."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from reid_core.cli import recipes
from reid_core.recipe import RecipeConfig, Source

FILE = """
sources:
- {name: market1501, root: old, options: {seed: 1}}
maybe:
- {name: mars, root: old}
image: {name: pku_reid, root: old, options: {seed: 1}}
"""


@dataclass
class Config(RecipeConfig):
    experiment: str = "toy"
    factor: int = 2
    sources: list[Source] = field(default_factory=lambda: [Source("folder", "default")])
    maybe: list[Source] | None = None
    image: Source | None = None


def faster(options):
    """Defaults of a published recipe, for the option experiment=fast."""
    return {"factor": 7, "runtime.workers": 3} if options.get("experiment") == "fast" else {}


APP = recipes.App(
    "toy",
    "A toy.",
    "1",
    Config,
    "no_such_module:RECIPE",
    {"prepare": "read the sources"},
    published=f"{__name__}:faster",
)


@pytest.fixture()
def parse(tmp_path):
    """Options, those with line breaks as configuration files -> the configuration that they mean."""

    def parse(*options):
        given = ["run"]
        for number, option in enumerate(options):
            if "\n" in option:
                (tmp_path / f"{number}.yaml").write_text(option)
                given += ["--config", str(tmp_path / f"{number}.yaml")]
            else:
                given.append(option)
        return recipes.parse_config(APP, given)

    return parse


def test_what_is_run_is_said_before_the_recipe_is_imported(tmp_path, capsys):
    assert recipes.main(APP, ["run", "--runs", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.out == f"toy run: the whole recipe (prepare), in {tmp_path / 'toy' / 'run'}\n"
    assert "no_such_module" in said.err and said.err.count("\n") == 1


def test_published_settings_are_defaults_that_what_is_given_overrides(parse):
    plain, fast, given = (
        parse(*options)
        for options in ([], ["--experiment", "fast"], ["--factor", "2", "--experiment", "fast"])
    )
    assert [(one.factor, one.runtime.workers) for one in (plain, fast, given)] == [(2, 0), (7, 3), (2, 3)]


@pytest.mark.parametrize("option", ["sources", "maybe"])
def test_a_list_on_the_command_line_replaces_a_files_of_equal_length_whole(parse, option):
    assert getattr(parse(FILE, f"--{option}", "[{name: ltcc}]"), option) == [Source("ltcc")]


@pytest.mark.parametrize("option", ["sources", "maybe"])
def test_a_list_in_a_second_file_replaces_the_firsts_whole(parse, option):
    assert getattr(parse(FILE, f"{option}:\n- {{name: ltcc}}\n"), option) == [Source("ltcc")]


def test_a_list_given_twice_on_the_command_line_is_the_second(parse):
    first, second = "[{name: mars, root: old}]", "[{name: ltcc}]"
    assert parse("--sources", first, "--sources", second).sources == [Source("ltcc")]


def test_a_list_replaces_the_default_whole(parse):
    assert parse("--sources", "[{name: ltcc}]").sources == [Source("ltcc")]
    assert parse("sources:\n- {name: ltcc}\n").sources == [Source("ltcc")]


def test_a_file_behind_the_command_lines_list_replaces_it(parse):
    assert parse("--sources", "[{name: ltcc}]", FILE).sources == parse(FILE).sources


def test_a_list_is_appended_to_and_its_last_element_edited_where_that_is_asked_for(parse):
    [old] = parse(FILE).sources
    assert parse(FILE, "--sources+", "{name: ltcc}").sources == [old, Source("ltcc")]
    assert parse(FILE, "--sources.root", "new").sources == [Source("market1501", "new", {"seed": 1})]


def test_fields_and_entries_of_a_mapping_still_merge(parse):
    assert parse(FILE, "--image.options.split", "2").image.options == {"seed": 1, "split": 2}
    assert parse(FILE, "image:\n  root: new\n").image == Source("pku_reid", "new", {"seed": 1})
