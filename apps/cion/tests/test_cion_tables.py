"""The paper's ablations: their numbers, and rows and pictures on a tiny synthetic world."""

from __future__ import annotations

import csv

import pytest

from cion.cli import APP, main
from cion.pretraining.tables import TABLES
from reid_core.cli.recipes import parse_config
from reid_core.recipe.tables import override


def test_the_tables_have_the_papers_numbers():
    papers = {name: [row.paper for row in table.rows] for name, table in TABLES.items()}
    assert papers["methods"] == [
        {},
        {"mAP": 90.9, "rank_1": 96.3},  # Tab. 4
        {"mAP": 93.3, "rank_1": 97.3},
    ]
    assert papers["methods_msmt17"][1:] == [{"mAP": 66.7, "rank_1": 85.8}, {"mAP": 74.3, "rank_1": 89.8}]
    assert papers["levels"][2:] == [{"mAP": 92.7}, {"mAP": 93.3, "rank_1": 97.3}]  # "further ... by 0.6%"
    assert papers["levels_msmt17"][2]["mAP"] == 72.4  # "and 1.9%"


def test_every_row_is_a_setting_that_there_is():
    config = parse_config(APP, ["run"])
    for table in TABLES.values():
        for row in table.rows:
            assert len(override(config, row.overrides).variants) == 1


@pytest.mark.slow
def test_a_part_of_the_identities_has_its_results_and_minutes(tiny):
    small = [
        *tiny.command,
        "--pretrain.batch",
        "2",
        "--pretrain.curriculum",
        "{0: 2}",
    ]  # a tenth fills a batch
    assert main(["pretrain", *small, "--name", "whole", "--variants", "[cross_video]"]) == 0
    assert main(["ablate", "ratio", *small, "--name", "parts"]) == 0
    folder = tiny.folder.with_name("parts") / "tables"
    with open(folder / "ratio.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row[""] for row in rows] == ["10%", "25%", "50%", "75%", "100%"]
    assert all(0 < float(row["mAP"]) <= 100 and float(row["pretraining_minutes (min)"]) >= 0 for row in rows)
    assert rows[-1]["mAP (paper)"] == "93.3" and rows[0]["mAP (paper)"] == ""
    assert (folder / "ratio.png").stat().st_size > 1000
    whole = tiny.folder.with_name("whole") / "pretrain" / "cross_video"
    assert (tiny.folder.with_name("parts.ratio.100") / "pretrain/cross_video").resolve() == whole.resolve()


def test_tsne_draws_some_people_as_each_pretraining_leaves_them(tiny):
    assert main(["tsne", *tiny.command, "--variants", "[none, dino, cross_video]"]) == 0
    assert (tiny.folder / "tsne" / "tsne.png").stat().st_size > 1000
    assert (tiny.folder / "pretrain" / "raw").exists()  # the run's own stages are where they were
