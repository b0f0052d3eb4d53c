"""Tables of a recipe: rows that are incomplete, and heat maps."""

from __future__ import annotations

import pytest

from reid_core.recipe import Recipe, Stage, part
from reid_core.recipe.tables import Found, Row, Table, ablate, heat_map, write


@pytest.mark.faults
def test_a_run_and_a_tables_row_with_too_many_unreadable_images_are_marked(toy, config, monkeypatch, capsys):
    monkeypatch.setattr("reid_core.tracking.journal.LAST_TRY_SECONDS", 0.1)
    counted = {"mAP": 0.5, "num_unreadable_gallery": 2, "num_gallery": 100}
    score = Stage("score", lambda job: counted, {}, {"prepare": [part("data", "query")]})
    recipe = Recipe(
        name="toy",
        module="toy.cli",
        sources=toy.sources,
        stages=lambda config: [toy.sources(config).stage(), score],
        results=lambda summaries: {"mAP": 0.5} if "score" in summaries else {},
    )
    found = ablate(recipe, config, Table("k", "Tab. 9", [Row("one")], ["mAP"]))
    assert [row.incomplete for row in found] == [True]
    lines = (config.folder / "tables" / "k.csv").read_text().splitlines()
    assert [line.endswith("(incomplete)") for line in lines] == [False, True]
    said = capsys.readouterr().err
    assert said.count("incomplete: score: 2 of 100 gallery could not be read") == 1
    tags = (config.folder.with_name(f"{config.name}.k.one") / "tracking.jsonl").read_text()
    assert '"incomplete": "score: 2 of 100 gallery could not be read"' in tags


def test_a_table_of_two_settings_is_drawn_as_a_heat_map_of_their_values(tmp_path):
    pairs = [(depth, length) for depth in (1, 3) for length in (4, 8, 16)]
    rows = [Row(f"{pair}", {"depth": pair[0], "length": pair[1]}) for pair in pairs]
    table = Table("figure_4", "Fig. 4", rows, ["mAP"], grid=("depth", "length"))
    found = [Found(row, "run", {"mAP": None if row is rows[0] else 70.0}) for row in rows]
    assert {path.suffix for path in write(table, found, tmp_path)} == {".csv", ".md", ".html", ".png"}
    (axes,) = heat_map(table, found, "depth", "length").axes
    (image,) = axes.images
    assert image.get_array().shape == (2, 3) and image.get_array().mask.sum() == 1
    assert len(axes.texts) == 5 and [label.get_text() for label in axes.get_xticklabels()] == ["4", "8", "16"]
