"""The shape of the repository: six leaves, apps above them, every member alike."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import Counter
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

import pytest
from isolate_wheels import import_name, version_of

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))
APPS = sorted(path.parent for path in ROOT.glob("apps/*/pyproject.toml"))
MEMBERS = PACKAGES + APPS


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def project(member: Path) -> dict:
    return tomllib.loads((member / "pyproject.toml").read_text())["project"]


def imports(folder: Path) -> dict[str, str]:
    """Top-level names imported anywhere under a folder, each with a file that does so."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            for name in names:
                found.setdefault(name.split(".")[0], str(path.relative_to(ROOT)))
    return found


def ids(member: Path) -> str:
    return member.name


def test_there_are_six_packages_and_four_apps() -> None:
    assert [path.name for path in PACKAGES] == [
        "reid-adapters",
        "reid-core",
        "reid-denoise",
        "reid-eval",
        "reid-lse",
        "reid-pretrain",
    ]
    assert [path.name for path in APPS] == ["cion", "gallery", "vills", "vsla_clip"]


@pytest.mark.parametrize("member", PACKAGES, ids=ids)
def test_a_package_imports_no_other_package_and_no_app(member: Path) -> None:
    others = {import_name(other) for other in MEMBERS if other != member}
    found = imports(member)
    assert {name: found[name] for name in others & found.keys()} == {}


@pytest.mark.parametrize("member", APPS, ids=ids)
def test_an_app_imports_no_other_app(member: Path) -> None:
    others = {import_name(other) for other in APPS if other != member}
    found = imports(member)
    assert {name: found[name] for name in others & found.keys()} == {}


@pytest.mark.parametrize("member", MEMBERS, ids=ids)
def test_what_a_member_imports_it_declares(member: Path) -> None:
    requirements = [
        *project(member).get("dependencies", []),
        *(line for extra in project(member).get("optional-dependencies", {}).values() for line in extra),
    ]
    declared = {normalised(re.split(r"[\s\[<>=!~;]", line)[0]) for line in requirements}
    providers = packages_distributions()
    undeclared = {}
    for name, path in imports(member / "src").items():
        if name in sys.stdlib_module_names or name == import_name(member):
            continue
        if not declared & {normalised(provider) for provider in providers.get(name, [name])}:
            undeclared[name] = path
    assert undeclared == {}, f"add them to {member.name}/pyproject.toml, then `python tools/lock.py --keep`"


@pytest.mark.parametrize("member", MEMBERS, ids=ids)
def test_every_member_has_the_same_shape(member: Path) -> None:
    package = member / "src" / import_name(member)
    expected = [member / name for name in ("BUILD", "README.md", "CHANGELOG.md")]
    expected += [package / "__init__.py", package / "py.typed"]
    assert [str(path.relative_to(ROOT)) for path in expected if not path.exists()] == []
    assert list((member / "tests").glob("test_*.py")), f"{member.name} has no tests"


@pytest.mark.parametrize("member", MEMBERS, ids=ids)
def test_the_changelog_tells_of_the_current_version(member: Path) -> None:
    assert f"## {version_of(member)}" in (member / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("member", MEMBERS, ids=ids)
def test_the_installed_version_is_the_one_stated(member: Path) -> None:
    try:
        installed = version(project(member)["name"])
    except PackageNotFoundError:
        pytest.skip(f"{member.name} is on the path without being installed")
    assert installed == version_of(member)


@pytest.mark.parametrize("member", APPS, ids=ids)
def test_an_app_accepts_the_packages_as_they_are_now(member: Path) -> None:
    from packaging.requirements import Requirement

    versions = {project(package)["name"]: version_of(package) for package in PACKAGES}
    for line in project(member)["dependencies"]:
        requirement = Requirement(line)
        if requirement.name in versions:
            assert requirement.specifier, f"{line}: name the versions as a range"
            assert versions[requirement.name] in requirement.specifier, line


def test_test_files_have_names_of_their_own() -> None:
    names = Counter(path.name for member in MEMBERS for path in (member / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_the_lock_holds_no_index_address_and_hashes_everything() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"https?://|file:|--(extra-)?index-url|--find-links", text)
    for block in re.split(r"\n(?=[a-z0-9])", text.split("\n", 1)[1]):
        assert "--hash=sha256:" in block, block


def test_no_two_configurations_share_a_run_folder() -> None:
    """A run folder is EXPERIMENT/NAME below the same `runs`, whichever app writes it."""
    names = Counter()
    for path in ROOT.glob("apps/*/configs/*.yaml"):
        top = dict(re.findall(r"^(experiment|name): (\S+)", path.read_text(), re.M))
        app = path.parts[-3]
        names[top.get("experiment", app), top.get("name", "run" if "experiment" in top else path.stem)] += 1
    assert names
    assert [name for name, files in names.items() if files > 1] == []
