"""The package's rooms: imports go downwards only, and no two files import each other in a circle."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import reid_core

SOURCE = Path(reid_core.__file__).parent
FLOORS = (
    ("cli",),
    ("recipe",),
    ("training", "video"),
    ("models",),
    ("data",),
    ("tracking", "synthetic"),
    ("files", "options", "processes", "progress"),
)
"""From the top down; a room imports from itself and from lower floors."""
HEIGHT = {room: -level for level, rooms in enumerate(FLOORS) for room in rooms}
MODULES = {
    ".".join(("reid_core", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in SOURCE.rglob("*.py")
}


def imports(path: Path) -> set[str]:
    """Modules of this package that a file imports, at the top or within a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= inside if inside <= MODULES.keys() else {node.module}
    return names & MODULES.keys() - {"reid_core"}


GRAPH = {name: imports(path) for name, path in MODULES.items()}


def room(name: str) -> str:
    return name.split(".")[1]


def test_every_module_stands_in_a_room() -> None:
    assert {room(name) for name in MODULES if name != "reid_core"} == set(HEIGHT)


def test_imports_go_downwards() -> None:
    upwards = [
        f"{name} imports {other}"
        for name, others in GRAPH.items()
        for other in others
        if name != "reid_core" and room(name) != room(other) and HEIGHT[room(name)] <= HEIGHT[room(other)]
    ]
    assert upwards == []


def test_there_are_no_import_circles() -> None:
    TopologicalSorter(GRAPH).prepare()  # raises CycleError, which names the circle
