"""The paper's tables, each a command with its numbers, on a miniature."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from vsla_clip.cli import main
from vsla_clip.tables import FIGURE_4, TABLES

CONFIGS = Path(__file__).parents[1] / "configs"


def test_the_list_has_a_command_for_each_table_whose_configuration_is_there(capsys):
    assert main(["ablate", "--list"]) == 0
    printed = capsys.readouterr().out
    for table in TABLES.values():
        assert table.command in printed
        words = table.command.split()
        assert words[:3] == ["vsla-clip", "ablate", table.name]
        assert (CONFIGS / Path(words[words.index("--config") + 1]).name).is_file()
    assert [line.split()[-2:] for line in printed.splitlines() if "d = 3, l = 16 " in line] == [
        ["81.29", "74.27"]
    ]


def test_a_figure_s_rows_are_a_grid_of_depth_and_length():
    grid = {(row.overrides["pbp.depth"], row.overrides["pbp.length"]) for row in FIGURE_4.rows}
    depths, lengths = ({pair[axis] for pair in grid} for axis in (0, 1))
    assert len(grid) == len(FIGURE_4.rows) == len(depths) * len(lengths)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["table_2_mars", "table_5", "adapters"])
def test_a_table_runs_and_has_numbers_of_its_metrics(tiny, name):
    assert main(["ablate", name, *tiny.command, "--name", "t", "--vpt.length", "2", "--traceback"]) == 0
    with (tiny.runs / "vsla_tiny" / "t" / "tables" / f"{name}.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(TABLES[name].rows)
    for line, row in zip(lines, TABLES[name].rows, strict=True):
        for metric, heading in zip(TABLES[name].metrics, TABLES[name].headings, strict=True):
            assert line[heading], f"{row.title} has no {metric}"
