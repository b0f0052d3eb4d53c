"""MkDocs hooks: the repository's own Markdown files as pages, where they lie, and an API page per lazy face.

Nothing is copied into docs/: a README is edited and read beside its code, and is a page of the site. Links
work in both: those to a folder lead to its README, and files that are no pages join the site.
"""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
GUIDES = (
    ("docs/your-own-data.md", "Your own data"),
    ("docs/datasets.md", "Data sets"),
    ("apps/gallery/README.md", "Using a model"),
    ("docs/identities.md", "Who is who"),
    ("docs/extending.md", "Extending"),
)
BACKGROUND = (
    ("docs/architecture.md", "Architecture"),
    ("docs/performance.md", "Performance"),
    ("docs/reliability.md", "Reliability"),
    ("docs/responsible-use.md", "Responsible use"),
    ("CONTRIBUTING.md", "Contributing"),
)
PAPERS = {"VILLS": "apps/vills", "CION": "apps/cion", "VSLA-CLIP": "apps/vsla_clip"}
CONFIGURATIONS = {"apps/vills": ["vills.config"], "apps/cion": ["cion.config", "cion.pretraining.config",
                  "cion.unsupervised.config"], "apps/vsla_clip": ["vsla_clip.config"]}  # fmt: skip
"""Modules whose dataclasses are an app's settings: default, meaning and source of each."""
LINK = re.compile(r"(!?\[[^\]]*\])\(([^)\s#]+)((?:#[^)\s]*)?)\)")
FENCE = re.compile(r"^```(\w+) [\w-]+$", re.MULTILINE)


def pages() -> list[str]:
    """Markdown files of the repository that are pages, relative to its root."""
    members = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("[pa]*/*/README.md"))]
    changelogs = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("[pa]*/*/CHANGELOG.md"))]
    docs = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md"))]
    return ["README.md", "CONTRIBUTING.md", *docs, *members, *changelogs]


def faces() -> dict[str, Path]:
    """Public module -> stub file that lists its names, of every package."""
    stubs = sorted(ROOT.glob("packages/*/src/**/__init__.pyi"))
    return {".".join(stub.parent.relative_to(stub.parents[_depth(stub)]).parts): stub for stub in stubs}


def _depth(stub: Path) -> int:
    """Number of the parent of a stub that is its `src` folder."""
    return next(number for number, parent in enumerate(stub.parents) if parent.name == "src")


def public_names(module: str, stub: str) -> dict[str, str]:
    """Public name -> dotted path where it is defined, in the order of the stub.

    >>> public_names("reid", "from .areas import AREAS\\nfrom .a.b import c as d\\n__version__: str")
    {'AREAS': 'reid.areas.AREAS', 'd': 'reid.a.b.c'}
    """
    imports = [node for node in ast.parse(stub).body if isinstance(node, ast.ImportFrom) and node.level == 1]
    return {
        alias.asname or alias.name: ".".join(filter(None, (module, node.module, alias.name)))
        for node in imports
        for alias in node.names
    }


def api_page(module: str, stub: Path) -> str:
    """Markdown of the API page of one face."""
    head = [f"# {module}", "", *module_docstring(stub.with_suffix(".py")), ""]
    for name, path in public_names(module, stub.read_text()).items():
        if name.startswith("_") or (stub.parent / name / "__init__.py").exists():
            continue  # another face: a page of its own
        head += [f"::: {path}", ""]
    return "\n".join(head)


def module_docstring(path: Path) -> list[str]:
    """Lines of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()


def settings_page(app: str, modules: list[str]) -> str:
    """Markdown of the page of an app's settings."""
    lines = [f"# Settings of {Path(app).name}", ""]
    return "\n".join(
        [*lines, *(f"::: {module}\n    options: {{show_root_heading: true}}\n" for module in modules)]
    )


def configuration_files(app: str) -> str:
    """Section of a reproduction page: the configuration files with the source of each value."""
    files = sorted((ROOT / app / "configs").glob("*.yaml")) + sorted(
        (ROOT / app / "configs/paper").glob("*.yaml")
    )
    few = [file for file in files if file.stem != "tiny"]
    lines = ["", "## Settings and their sources", ""]
    lines += [
        f"Every setting with its default and source: [settings](../../api/settings-{Path(app).name}.md).",
        "",
    ]
    for file in few:
        lines += [f"### {file.relative_to(ROOT / app)}", "", "```yaml", file.read_text().rstrip(), "```", ""]
    return "\n".join(lines)


def links(text: str, page: str) -> Iterator[tuple[str, str]]:
    """Relative links of a page: as written, and the file in the repository."""
    for _, target, _ in LINK.findall(text):
        if "://" not in target and not target.startswith("mailto:"):
            yield target, posixpath.normpath(posixpath.join(posixpath.dirname(page), target))


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The navigation: fixed parts, and what is found in the repository."""
    packages = []
    for folder in sorted(ROOT.glob("packages/*")):
        prefix = folder.name.replace("-", "_")
        own = [module for module in faces() if module.split(".")[0] == prefix]
        packages.append(
            {
                folder.name: [
                    f"packages/{folder.name}/README.md",
                    *({name: f"api/{name}.md"} for name in own),
                    {"Changes": f"packages/{folder.name}/CHANGELOG.md"},
                ]
            }  # fmt: skip
        )
    papers: list[Any] = [{"Reproducing": "docs/reproducing.md"}]
    for paper, app in PAPERS.items():
        name = Path(app).name
        papers.append({paper: [f"{app}/README.md", {"Settings": f"api/settings-{name}.md"},
                               {"Changes": f"{app}/CHANGELOG.md"}]})  # fmt: skip
    guides = [{title: page} for page, title in GUIDES if (ROOT / page).exists()]
    config.nav = [
        {"Start": "README.md"},
        {"Guides": [*guides, {"Changes of reid-gallery": "apps/gallery/CHANGELOG.md"}]},
        {"Papers": papers},
        {"Packages": packages},
        {"Background": [{title: page} for page, title in BACKGROUND]},
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace docs/ as MkDocs found it by the repository's pages, API pages and what pages link to."""
    site = Files(
        [file for file in files if file.src_uri.startswith("assets/") and file.src_dir != config.docs_dir]
    )
    for page in pages():
        site.append(File.generated(config, page, abs_src_path=str(ROOT / page)))
    for module, stub in faces().items():
        site.append(File.generated(config, f"api/{module}.md", content=api_page(module, stub)))
    for app, modules in CONFIGURATIONS.items():
        name = f"api/settings-{Path(app).name}.md"
        site.append(File.generated(config, name, content=settings_page(app, modules)))
    for page in pages():
        for _, target in links((ROOT / page).read_text(), page):
            if (ROOT / target).is_file() and site.get_file_from_path(target) is None:
                site.append(File.generated(config, target, abs_src_path=str(ROOT / target)))
    worker = Path(__file__).parent / "iframe-worker.js"
    site.append(File.generated(config, "assets/iframe-worker.js", abs_src_path=str(worker)))
    return site


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to folders lead to their README, fences lose the name of an extra, a paper gets its settings."""
    source = page.file.src_uri
    markdown = FENCE.sub(r"```\1", markdown)
    folders = {
        target for target, path in links(markdown, source) if files.get_file_from_path(f"{path}/README.md")
    }
    markdown = LINK.sub(
        lambda found: f"{found[1]}({found[2]}{'/README.md' if found[2] in folders else ''}{found[3]})",
        markdown,
    )
    app = posixpath.dirname(source)
    return (
        markdown + configuration_files(app)
        if source == f"{app}/README.md" and app in CONFIGURATIONS
        else markdown
    )
