"""Helpers that several packages hold, as no package imports another, are the same text in each."""

import ast
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parents[2] / "packages"
COPIES = {
    "refuse_long_names": [
        "reid-adapters/src/reid_adapters/weight_files.py",
        "reid-core/src/reid_core/models/checkpoint_files.py",
        "reid-lse/src/reid_lse/weight_files.py",
    ]
}


@pytest.mark.parametrize("name", COPIES)
def test_a_helper_that_several_packages_hold_is_the_same_in_each(name):
    texts = set()
    for file in COPIES[name]:
        text = (PACKAGES / file).read_text()
        [found] = [part for part in ast.parse(text).body if getattr(part, "name", None) == name]
        texts.add(ast.get_source_segment(text, found))
    assert len(texts) == 1
