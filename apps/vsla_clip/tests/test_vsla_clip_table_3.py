"""Table 3: the paper's numbers of parameters are counted, and its rows are run beside its numbers."""

from __future__ import annotations

import csv

import pytest

from vsla_clip.cli import main
from vsla_clip.config import METHODS
from vsla_clip.parameters import parameters
from vsla_clip.tables import PARAMETERS, TABLE_3

PROMPTS = 930 * 4 * 512 + 16 * 512
"""Eq. 5: four tokens for each of G2A-VReID's training identities, and sixteen shared ones."""
PAPER = {row.overrides["method"]: [row.paper[name] for name in PARAMETERS] for row in TABLE_3.rows}


@pytest.mark.parametrize("name", PAPER)
def test_tunable_parameters_are_the_papers(name):
    tunable = parameters(name)[1] / 1e6
    prompts = (
        3 * 2 * 16 * 768 / 1e6 if METHODS[name].pbp else 0
    )  # the paper prints 14.5 with them and without
    assert tunable - prompts == pytest.approx(PAPER[name][1], abs=0.06)


@pytest.mark.parametrize("name", ["baseline", "ifa"])
def test_overall_parameters_without_the_text_tower_are_the_papers(name):
    assert parameters(name)[0] / 1e6 == pytest.approx(PAPER[name][0], abs=0.1)


def test_alignment_adds_prompts_to_what_is_tuned_and_the_text_tower_to_the_whole():
    overall, tunable = (
        aligned - plain for aligned, plain in zip(parameters("ifa_vsa"), parameters("ifa"), strict=True)
    )
    assert tunable == PROMPTS
    assert overall == parameters("ft_clip")[0] - parameters("baseline")[0] > 38e6


@pytest.mark.parametrize("name", ["ft_clip", "ifa_vsa", "vsla_clip"])
def test_with_clip_reids_two_classifiers_the_overall_parameters_are_the_papers(name):
    classifiers = 930 * (768 + 512)
    assert round((parameters(name)[0] + classifiers) / 1e6, 1) == PAPER[name][0]


def test_the_list_needs_neither_data_nor_weights(capsys):
    assert main(["parameters"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "VSLA-CLIP)" in line]
    assert lines[0].split() == ["IFA+VSA+CFAA", "(VSLA-CLIP)", "138.8", "140.0", "14.5", "14.5"]


@pytest.mark.slow
def test_its_rows_share_what_they_can_and_stand_beside_the_papers_numbers(tiny):
    assert main(["ablate", "table_3", *tiny.command, "--name", "table"]) == 0
    runs = tiny.runs / "vsla_tiny"
    rows = [runs / f"table.table_3.{TABLE_3.slug(number)}" for number in range(6)]
    for stage, users in (("prepare", 6), ("clip", 6), ("stage1", 4)):  # four of them are aligned with texts
        made = [(row / stage).resolve() for row in rows if (row / stage).exists()]
        assert made == [(tiny.folder / stage).resolve()] * users
    with open(runs / "table" / "tables" / "table_3.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["mAP (paper)"] for line in lines] == ["72.8", "78.11", "73.82", "79.01", "79.7", "81.29"]
    assert [line["parameters/tunable (M) (paper)"] for line in lines][-1] == "14.5"
    assert 0 < float(lines[-1]["parameters/tunable (M)"]) < float(lines[-1]["parameters/overall (M)"]) < 1
