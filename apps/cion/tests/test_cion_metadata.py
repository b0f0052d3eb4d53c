"""What a user sees of the installed distribution before its first line of code."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import cion

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]


def test_the_installed_version_is_the_one_in_pyproject() -> None:
    try:
        installed = version("cion")
    except PackageNotFoundError:
        pytest.skip("cion is on the path without being installed")
    assert installed == PROJECT["version"]


def test_the_changelog_tells_of_the_current_version() -> None:
    changelog = (Path(__file__).parent.parent / "CHANGELOG.md").read_text()
    assert f"## {PROJECT['version']}" in changelog


def test_the_package_says_what_it_is_for_and_is_typed() -> None:
    assert cion.__doc__
    assert (Path(cion.__file__).parent / "py.typed").exists()
