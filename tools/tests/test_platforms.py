"""Every module can be imported where what only Linux (or only POSIX) has is missing."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLATFORMS = {
    "darwin": ("posix", ("spwd", "ossaudiodev"), ("posix_fadvise", "sched_getaffinity", "memfd_create")),
    "win32": (
        "nt",
        ("fcntl", "resource", "termios", "tty", "pty", "pwd", "grp", "syslog", "readline", "curses", "posix"),
        (
            *("fork", "forkpty", "getuid", "geteuid", "getgid", "getpgid", "killpg", "setsid", "getloadavg"),
            *("pread", "pwrite", "posix_fadvise", "posix_fallocate", "posix_spawn", "sched_getaffinity"),
            *(
                "sysconf",
                "statvfs",
                "uname",
                "mkfifo",
                "nice",
                "wait3",
                "wait4",
                "register_at_fork",
                "fchown",
            ),
        ),
    ),
}
"""sys.platform -> os.name, and the modules and attributes of os that are missing there."""
CODE = """
import builtins, importlib, json, os, pkgutil, sys, types

OURS = {"reid_core", "reid_eval", "reid_lse", "reid_denoise", "reid_adapters", "reid_pretrain"}
OURS |= {"cion", "vills", "vsla_clip", "reid_gallery"}
platforms, LIGHT, whole = json.loads(sys.argv[1])
real = builtins.__import__


def without(module, gone, **changes):
    copy = types.ModuleType(module.__name__)
    copy.__dict__.update({key: value for key, value in vars(module).items() if key not in gone}, **changes)
    return copy


def find_failures(platform):
    kind, modules, attributes = platforms[platform]
    seen = {"os": without(os, attributes, name=kind), "sys": without(sys, (), platform=platform)}

    def importing(name, globals=None, locals=None, fromlist=(), level=0):
        if level or (globals or {}).get("__name__", "").split(".")[0] not in OURS:
            return real(name, globals, locals, fromlist, level)
        if name.split(".")[0] in modules:
            raise ModuleNotFoundError(f"No module named {name!r}")
        return seen[name] if name in seen else real(name, globals, locals, fromlist, level)

    for loaded in [loaded for loaded in sys.modules if loaded.split(".")[0] in OURS]:
        del sys.modules[loaded]
    builtins.__import__ = importing
    failures, count = [], 0
    try:
        for package in sorted(OURS):
            face = importlib.import_module(package)
            inside = list(pkgutil.walk_packages(face.__path__, package + ".")) if whole else []
            names = [package, *LIGHT.get(package, ()), *(found.name for found in inside)]
            for module in names:
                if module.endswith("__main__"):
                    continue
                count += 1
                try:
                    loaded = importlib.import_module(module)
                    for public in getattr(loaded, "__all__", ()) if whole else ():
                        getattr(loaded, public)
                except Exception as error:
                    failures.append(f"{module}: {type(error).__name__}: {error}")
    finally:
        builtins.__import__ = real
    return {"failures": failures, "modules": count}


print(json.dumps({platform: find_failures(platform) for platform in platforms}))
"""


LIGHT = {
    "reid_core": [
        *("reid_core.data", "reid_core.models", "reid_core.training", "reid_core.recipe", "reid_core.video"),
        *("reid_core.files", "reid_core.processes", "reid_core.training.config", "reid_core.cli.recipes"),
    ],
    **{
        name: [f"{name}.cli"]
        for name in ("reid_eval", "reid_lse", "reid_denoise", "cion", "vills", "vsla_clip", "reid_gallery")
    },
}
"""Faces, configurations and command lines: what is imported before torch."""


def find_failures(whole: bool) -> dict[str, list[str]]:
    """Platform -> what can't be imported there; one process for both, for libraries are loaded once."""
    arguments = json.dumps([PLATFORMS, LIGHT, whole])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE, arguments], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert min(result["modules"] for result in found.values()) >= (200 if whole else 20)
    return {platform: result["failures"] for platform, result in found.items()}


def test_faces_configurations_and_commands_can_be_imported_on_macos_and_windows() -> None:
    assert find_failures(whole=False) == {"darwin": [], "win32": []}


@pytest.mark.slow
def test_every_module_and_public_name_can_be_imported_on_macos_and_windows() -> None:
    assert find_failures(whole=True) == {"darwin": [], "win32": []}


SOURCES = [*ROOT.glob("packages/*/src/**/*.py"), *ROOT.glob("apps/*/src/**/*.py")]


def import_time_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """What of a module is run when it is imported: all but the bodies of functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from import_time_nodes(child)


def test_no_module_imports_what_only_posix_has_when_it_is_imported() -> None:
    _, modules, attributes = PLATFORMS["win32"]
    found = []
    for path in SOURCES:
        for node in import_time_nodes(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                names = [f"{node.value.id}.{node.attr}"]
            gone = {*modules, *(f"os.{attribute}" for attribute in attributes)}
            found += [f"{path}: {name}" for name in names if gone & {name, name.partition(".")[0]}]
    assert SOURCES and found == []
