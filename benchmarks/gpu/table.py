"""Write what a card found into docs/performance.md: python benchmarks/gpu table FOLDER."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"
BEGIN, END = "<!-- benchmarks/gpu: begin -->", "<!-- benchmarks/gpu: end -->"

COLUMNS = {
    "seconds": ("ms", 1e3, ".1f"),
    "images_per_s": ("images/s", 1.0, ".0f"),
    "crops_per_s": ("crops/s", 1.0, ".1f"),
    "peak_gib": ("GiB", 1.0, ".1f"),
    "share_of_bf16_peak": ("share of bf16 peak", 1.0, ".1%"),
}
"""Numbers of a result that have a column: its heading, factor and format."""


def section(records: dict[str, dict[str, Any]]) -> str:
    """The section of the page, in Markdown.

    Args:
        records: what core.json and speed.json hold, by "core" and "speed"; those that are there.

    Raises:
        ValueError: a record is of a CPU, or of tiny sizes.
    """
    for name, record in records.items():
        if record["machine"].get("device") != "cuda" or "--tiny" in record["command"]:
            raise ValueError(
                f"{name}.json is of {record['command']} on {record['machine'].get('device')}: no card's"
            )
    return "\n\n".join(
        text
        for name, write in (("core", _core), ("speed", _speed))
        if name in records
        for text in write(records[name])
    )


def _core(record: dict[str, Any]) -> list[str]:
    rows = []
    for name, part in record["parts"].items():
        tests = part["results"].get("tests", {})
        counts = ", ".join(f"{tests[key]} {key}" for key in ("passed", "failed", "skipped") if tests.get(key))
        rows.append([name, part["status"], counts or part.get("why", ""), f"{part['seconds']:.0f}"])
    return [f"### Correctness\n\n{_origin(record)}", _markdown(["part", "status", "tests", "s"], rows)]


def _speed(record: dict[str, Any]) -> list[str]:
    rows = []
    for name, part in record["parts"].items():
        if part["status"] != "passed":
            rows.append([name, f"{part['status']}: {part.get('why', '')}"] + [""] * len(COLUMNS))
        for thing, numbers in part["results"].items():
            if "seconds" in numbers:
                rows.append([name, thing, *(_cell(numbers, key) for key in COLUMNS)])
    headings = ["part", "what", *(heading for heading, _, _ in COLUMNS.values())]
    goals = [
        [goal["name"], goal["target"], "not measured" if goal["measured"] is None else str(goal["measured"])]
        for goal in record["goals"]
    ]
    profiles = [
        f"{thing} (device idle {numbers['idle_share']:.0%}):\n\n```\n{numbers['top']}\n```"
        for part in record["parts"].values()
        for thing, numbers in part["results"].items()
        if "idle_share" in numbers
    ]
    return [
        f"### Speed\n\n{_origin(record)}",
        _markdown(headings, rows),
        _markdown(["goal", "target", "measured"], goals),
        *profiles,
    ]


def _cell(numbers: dict[str, Any], key: str) -> str:
    _, factor, form = COLUMNS[key]
    return format(numbers[key] * factor, form) if key in numbers else ""


def _origin(record: dict[str, Any]) -> str:
    machine, revision = record["machine"], record["revision"] or "unknown"
    return (
        f"`{record['command']}`, {record['date']}, revision {revision}: {machine['gpu']}, torch "
        f"{machine['torch']}, CUDA {machine['cuda']}, {machine['cores']} cores, {record['seconds']:.0f} s."
    )


def _markdown(headings: list[str], rows: list[list[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def fill(page: str, text: str) -> str:
    """The page with the section between its marks replaced.

    Raises:
        ValueError: the page lacks the marks.
    """
    if BEGIN not in page or END not in page:
        raise ValueError(f"the page has no {BEGIN} and {END} to write between")
    before, after = page[: page.index(BEGIN) + len(BEGIN)], page[page.index(END) :]
    return f"{before}\n{text}\n{after}"


def main(arguments: list[str]) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python benchmarks/gpu table", description=__doc__)
    parser.add_argument("folder", type=Path, help="with core.json and speed.json, as --out named it")
    folder = parser.parse_args(arguments).folder
    names = [name for name in ("core", "speed") if (folder / f"{name}.json").exists()]
    if not names:
        parser.error(f"{folder} holds neither core.json nor speed.json")
    records = {name: json.loads((folder / f"{name}.json").read_text()) for name in names}
    partial = PAGE.with_suffix(".partial")
    partial.write_text(fill(PAGE.read_text(), section(records)))
    partial.replace(PAGE)
    print(f"{PAGE}: {', '.join(names)}")
