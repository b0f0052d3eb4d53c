"""The table of protocols in docs/datasets.md is that of the code."""

from __future__ import annotations

from pathlib import Path

from reid_core.data.readers import READERS
from reid_eval import PROTOCOLS

DOCS = Path(__file__).resolve().parents[2] / "docs" / "datasets.md"
HEAD = "| name | protocol | gallery and what counts here |"


def documented() -> dict[str, str]:
    """Name of each manifest -> name of its protocol, as the table has them."""
    lines = iter(DOCS.read_text(encoding="utf-8").splitlines())
    while not next(lines).startswith(HEAD):
        pass
    next(lines)
    rows = {}
    for line in lines:
        if not line.startswith("|"):
            return rows
        names, protocol = (cell.strip() for cell in line.split("|")[1:3])
        rows |= {name.strip(): protocol for name in names.split(",")}
    return rows


def test_every_readers_protocol_stands_in_the_docs_as_it_is_in_the_code() -> None:
    names = {name for reader in READERS.values() for name in reader.counts}
    expected = {name: PROTOCOLS[name].__name__ for name in names}
    found = documented()
    assert {name: found.get(name) for name in names} == expected
