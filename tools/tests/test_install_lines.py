"""Install lines work: from a checkout or wheels in the pages, by the distributions' own names in messages."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MEMBERS = sorted(
    path.parent for path in (*ROOT.glob("packages/*/pyproject.toml"), *ROOT.glob("apps/*/pyproject.toml"))
)
PAGES = sorted(
    {ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md"), *ROOT.glob("*/*/README.md")}
)
EXTRA = re.compile(r"\[([\w,-]+)\]$")


def project(member: Path) -> dict:
    return tomllib.loads((member / "pyproject.toml").read_text())["project"]


def plain(requirement: str) -> str:
    """A distribution's name as an index knows it.

    >>> plain("open_clip_torch>=2.30; sys_platform == 'linux'")
    'open-clip-torch'
    """
    return re.split(r"[ \[<>=!~;]", requirement)[0].replace("_", "-").lower()


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)
def test_messages_name_distributions_that_the_member_declares(member: Path) -> None:
    optional = project(member).get("optional-dependencies", {})
    declared = {plain(requirement) for extra in optional.values() for requirement in extra}
    for file in member.glob("src/**/*.py"):
        texts = [
            node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)
        ]
        for line in re.findall(r"pip install ([^;:,()\n]+)", "\n".join(map(str, texts))):
            assert {plain(name) for name in line.split()} <= declared, f"{file}: pip install {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_install_members_from_the_checkout_with_extras_that_they_have(page: Path) -> None:
    for line in re.findall(r"^(?:.*`|uv )?(pip install [^`\n#]+)", page.read_text(), re.M):
        for place in re.findall(r"[\w./-]*(?:packages|apps)/[\w*-]+(?:\[[\w,-]+\])?", line):
            extra = EXTRA.search(place)
            members = list(ROOT.glob(EXTRA.sub("", place).removeprefix("./")))
            assert place.startswith("./") and members, line
            wanted = set(extra[1].split(",")) if extra else set()
            for member in members:
                assert (member / "pyproject.toml").exists(), line
                assert wanted <= set(project(member).get("optional-dependencies", {})), line
        for name, extra in re.findall(r"\./dist/([a-z_]+)[-*.\w]*\.whl\)?(?:\[([\w,-]+)\])?", line):
            named = [member for member in MEMBERS if wheel_name(member).startswith(name)]
            assert named, f"{line}: no member's wheel is named {name}"
            for member in named if extra else ():
                assert set(extra.split(",")) <= set(project(member)["optional-dependencies"]), line
        assert not re.search(r"install ['\"]?(reid-|vills|cion|vsla)", line), f"{line}: on no package index"


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)
def test_a_members_readme_says_how_to_install_it_and_with_which_extras(member: Path) -> None:
    text = (member / "README.md").read_text()
    place = member.relative_to(ROOT)
    assert re.search(rf"pip install [^`\n]*\./{place}\b", text)
    named = text.partition(f"./{place}")[2].partition("```")[0]
    for extra in project(member).get("optional-dependencies", {}):
        assert re.search(rf"\b{extra}\b", named), f"{place}/README.md names no extra {extra}"


def wheel_name(member: Path) -> str:
    """What a member's wheel begins with."""
    return project(member)["name"].replace("-", "_")
