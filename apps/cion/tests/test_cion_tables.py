"""The paper's ablations: their numbers, and rows and pictures on a tiny synthetic world."""

from __future__ import annotations

import csv
import shlex
import shutil
from pathlib import Path

import pytest

from cion.cli import APP, UNSUPERVISED_APP, main
from cion.pretraining.recipe import RECIPE
from cion.pretraining.tables import TABLES
from cion.unsupervised.recipe import RECIPE as UNSUPERVISED_RECIPE
from cion.unsupervised.tables import TABLES as UNSUPERVISED_TABLES
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


@pytest.mark.parametrize("name", TABLES)
def test_a_tables_command_is_the_tables_own_and_its_rows_are_settings_that_there_are(name):
    program, action, *options = shlex.split(TABLES[name].command)
    if action == "tsne":
        assert not TABLES[name].rows and "LUP_NL" in TABLES[name].command
        return
    assert (program, action, options[0]) == ("cion", "ablate", name)
    at = options.index("--config") + 1
    options[at] = str(Path(__file__).parents[3] / options[at])
    config = parse_config(APP, ["run", *options[1:]])
    for row in TABLES[name].rows:
        stages = [stage.name for stage in RECIPE.stages(override(config, row.overrides))]
        assert stages[0] == "prepare" and stages[-1] == "evaluate"


@pytest.mark.parametrize("name", UNSUPERVISED_TABLES)
def test_a_table_without_labels_has_the_papers_numbers_and_its_command(name):
    table = UNSUPERVISED_TABLES[name]
    program, app, action, own, *options = shlex.split(table.command)
    assert (program, app, action, own) == ("cion", "unsupervised", "ablate", name)
    config = parse_config(UNSUPERVISED_APP, ["run", *options])
    assert len(table.rows) == 9 and all(set(row.paper) == {"mAP", "rank_1"} for row in table.rows)
    for row in table.rows:
        one = override(config, row.overrides)
        with pytest.raises(FileNotFoundError, match=f"REIDZOO/{one.model.backbone}.pth"):
            UNSUPERVISED_RECIPE.check(one)


def test_table_2_is_the_papers():
    rows = {row.title: row.paper for row in UNSUPERVISED_TABLES["uda_msmt17"].rows}
    assert rows["ResNet50"] == {"mAP": 57.4, "rank_1": 81.3}
    assert rows["ResNet50-IBN"] == {"mAP": 62.7, "rank_1": 84.3}
    rows = {row.title: row.paper for row in UNSUPERVISED_TABLES["usl_msmt17"].rows}
    assert rows["ViT-S"] == {"mAP": 55.0, "rank_1": 78.4}


def test_a_figure_without_rows_names_its_command(tmp_path, capsys):
    assert main(["ablate", "features", "--runs", str(tmp_path)]) == 1
    assert "features has no rows to run: cion tsne" in capsys.readouterr().err


def test_the_list_has_each_table_with_its_command(capsys):
    assert main(["ablate", "--list"]) == 0
    told = capsys.readouterr().out
    assert all(table.command in told for table in TABLES.values())


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
    assert all(0 < float(row["mAP"]) <= 100 for row in rows)
    assert rows[-1]["mAP (paper)"] == "93.3" and rows[0]["mAP (paper)"] == ""
    assert (folder / "ratio.png").stat().st_size > 1000
    short = ["--pretrain.train.epochs", "1", "--variants", "[cross_video]", "--model.options", "{}"]
    assert main(["ablate", "minutes", *small, *short, "--name", "parts"]) == 0
    with open(folder / "minutes.csv") as file:
        assert all(float(row["pretraining_minutes (min)"]) >= 0 for row in csv.DictReader(file))
    whole = tiny.folder.with_name("whole") / "pretrain" / "cross_video"
    assert (tiny.folder.with_name("parts.ratio.100") / "pretrain/cross_video").resolve() == whole.resolve()


def test_tsne_draws_some_people_as_each_pretraining_leaves_them(tiny):
    assert main(["tsne", *tiny.command, "--variants", "[none, dino, cross_video]"]) == 0
    assert (tiny.folder / "tsne" / "tsne.png").stat().st_size > 1000
    assert (tiny.folder / "pretrain" / "raw").exists()  # the run's own stages are where they were


@pytest.mark.faults
def test_tsne_goes_on_without_an_image_that_cannot_be_read(tiny, tmp_path):
    data = Path(shutil.copytree(tiny.data / "target", tmp_path / "target"))
    broken = next(p for p in sorted((data / "bounding_box_test").glob("*.jpg")) if p.name[:4] > "0000")
    broken.write_bytes(b"")
    command = ["tsne", *tiny.command, "--name", "broken_tsne", "--variants", "[none]"]
    assert main([*command, "--data.target", f"{{name: market1501, root: {data}}}"]) == 0
    folder = tiny.folder.with_name("broken_tsne") / "tsne"
    assert [path.read_text() for path in folder.rglob("*.unreadable.txt")] == [f"{broken}\n"]
    assert (folder / "tsne.png").stat().st_size > 1000
