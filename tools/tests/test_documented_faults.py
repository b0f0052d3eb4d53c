"""Each promise in docs/reliability.md names a test that is there and that `make test-faults` runs."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w/.-]+\.py)::(\w+)`", PAGE)))


def is_marked(nodes: list[ast.expr]) -> bool:
    return any(ast.unparse(node) == "pytest.mark.faults" for node in nodes)


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_documented_fault_has_its_test_among_those_of_faults(file: str, name: str) -> None:
    body = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
    whole = [
        node.value for node in body if isinstance(node, ast.Assign) and "pytestmark" in ast.unparse(node)
    ]
    found = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == name]
    assert found, f"{file} has no test {name}"
    assert is_marked(found[0].decorator_list) or is_marked(whole)


def test_every_row_of_the_page_names_a_test() -> None:
    rows = [
        line
        for line in PAGE.splitlines()
        if line.startswith("| ") and not line.startswith(("| fault", "| ---"))
    ]
    assert rows and all("::test_" in row for row in rows)
