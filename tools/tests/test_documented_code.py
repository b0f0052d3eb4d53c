"""Code of the pages runs: Python blocks one after the other, commands as far as their options."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
import tomllib
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import jsonargparse
import pytest
from documented_code import ROOT, blocks, commands, pages

MARKET = "/data/Market-1501-v15.09.15"
SCRIPTS: dict[str, str] = {
    name: target
    for path in (*ROOT.glob("packages/*/pyproject.toml"), *ROOT.glob("apps/*/pyproject.toml"))
    for name, target in tomllib.loads(path.read_text())["project"].get("scripts", {}).items()
}
with_python = [
    pytest.param(page, marks=[pytest.mark.slow] if page.parent.parent.name == "apps" else [])  # heavy imports
    for page in pages()
    if any(block.language == "python" for block in blocks(page.read_text()))
]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def write_market(folder: Path) -> None:
    """What docs/datasets.md reads: a data set, and shards of its images."""
    from reid_core.data.packing import pack
    from reid_core.data.readers import read
    from reid_core.synthetic import World, write_market1501

    write_market1501(
        World(seed=0, identities=4, cameras=2), folder / "market", images_per_camera=2, progress=False
    )
    pack(read("market1501", folder / "market"), folder / "SHARDS", workers=1, progress=False)


PREPARATIONS: dict[str, Callable[[Path], None]] = {"docs/datasets.md": write_market}


@pytest.mark.parametrize("page", with_python, ids=name_of)
def test_python_blocks_of_a_page_run_one_after_the_other(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that need an extra are run in an environment with it by tools/isolate_wheels.py."""
    monkeypatch.chdir(tmp_path)
    PREPARATIONS.get(name_of(page), lambda folder: None)(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page.read_text()):
        if block.language == "python" and not block.extra and not block.reason:
            code = block.code.replace(MARKET, str(tmp_path / "market"))
            exec(compile(code, name_of(page), "exec"), names)


class Parsed(BaseException):
    """A command's options have been read; nothing has been run."""


@pytest.fixture
def only_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = jsonargparse.ArgumentParser.parse_args

    def parse_args(self: Any, *arguments: Any, **options: Any) -> NoReturn:
        whole(self, *arguments, **options)
        raise Parsed

    monkeypatch.setattr(jsonargparse.ArgumentParser, "parse_args", parse_args)
    monkeypatch.chdir(ROOT)  # configurations are named from there
    own = types.ModuleType("my_module")  # a reader's
    own.detect = lambda frames: []  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, own.__name__, own)


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_commands_of_a_page_have_options_that_exist(
    page: Path, only_parse: None, capsys: pytest.CaptureFixture[str]
) -> None:
    for program, *arguments in commands(page.read_text(), frozenset(SCRIPTS)):
        module, _, function = SCRIPTS[program].partition(":")
        try:
            status = getattr(importlib.import_module(module), function)(arguments)
        except Parsed:
            continue
        except SystemExit as stop:  # --help, --version, or what is wrong
            status = stop.code
        assert not status, f"{shlex.join([program, *arguments])}: {capsys.readouterr().err}"


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_targets_and_scripts_that_a_page_calls_exist(page: Path) -> None:
    text = page.read_text()
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    lines = "\n".join(block.code for block in blocks(text) if block.language == "bash")
    called = "\n".join([lines, *re.findall(r"`([^`\n]+)`", text)])
    assert set(re.findall(r"^make ([a-z][\w-]*)", called, re.MULTILINE)) <= set(targets)
    files = re.findall(r"(?:^|\s)((?:benchmarks|tools|examples)/[\w./-]+\.(?:py|sh))", called)
    assert all((ROOT / file).exists() for file in files), files


def test_blocks_that_are_not_run_say_why() -> None:
    reasons = [block.reason for page in pages() for block in blocks(page.read_text()) if block.reason]
    assert all(len(reason.split()) >= 3 for reason in reasons), reasons
