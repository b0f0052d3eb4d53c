"""`vsla-clip ablate --list` has the paper's numbers of parameters."""

from __future__ import annotations

import pytest

from vsla_clip.cli import main
from vsla_clip.methods import METHODS, TABLE_3
from vsla_clip.tables import PAPER, parameters

PROMPTS = 930 * 4 * 512 + 16 * 512
"""Eq. 5: four tokens for each of G2A-VReID's training identities, and sixteen shared ones."""


@pytest.mark.parametrize("name", TABLE_3)
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
    assert main(["ablate", "--list"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "VSLA-CLIP)" in line]
    assert [cell.strip() for cell in lines[0].split("│")[1:-1]] == [
        "IFA+VSA+CFAA (VSLA-CLIP)",
        "138.8",
        "140.0",
        "14.5",
        "14.5",
    ]
