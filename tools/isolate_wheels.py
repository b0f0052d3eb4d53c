"""Install each built wheel alone in a fresh environment and run the first Python block of its README there.

A package gets its declared dependencies at the lock's versions and nothing else: what it imports without
declaring is missing there. Blocks that are fenced with the name of an extra run after that is added. An app
also gets the packages' wheels from dist/, and its console script must answer --help.

    python tools/isolate_wheels.py [MEMBER ...]        after `./pants package ::`
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from run_readme_block import runnable_blocks

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"


def import_name(member: Path) -> str:
    """What a member is imported as: its distribution's name with underscores (an app's folder may differ)."""
    name: str = tomllib.loads((member / "pyproject.toml").read_text())["project"]["name"]
    return name.replace("-", "_")


def version_of(member: Path) -> str:
    """A member's version, from the one line that states it: `__version__` in its `__init__.py`."""
    module = member / "src" / import_name(member) / "__init__.py"
    found = re.search(r'^__version__ = "(.+)"$', module.read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit(f'{module}: expected a line like __version__ = "0.1.0"')
    return found[1]


def wheel_of(member: Path) -> Path:
    """The wheel in dist/ of a member's current version."""
    wheel = DIST / f"{import_name(member)}-{version_of(member)}-py3-none-any.whl"
    if not wheel.exists():
        raise SystemExit(f"{wheel} is missing: run ./pants package :: first")
    return wheel


def check(member: Path, uv: str) -> float:
    """Install the member's wheel in an own environment and run its README's block in an empty folder.

    Returns:
        The seconds that it took.
    """
    start = time.monotonic()
    project = tomllib.loads((member / "pyproject.toml").read_text())["project"]
    is_app = member.parent.name == "apps"
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder) / "env"
        python = environment / "bin" / "python"
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(environment)], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", str(python)]
        install += ["--constraint", str(ROOT / "requirements.lock")]
        # By path, so that a package of the same name on an index is never looked at.
        packages = sorted(ROOT.glob("packages/*/pyproject.toml")) if is_app else []
        wheels = [wheel_of(path.parent) for path in packages]
        overrides = Path(folder) / "members.txt"
        names = [f"{wheel.name.split('-')[0].replace('_', '-')} @ {wheel.as_uri()}\n" for wheel in wheels]
        overrides.write_text("".join(names))
        install += ["--override", str(overrides)] if is_app else []
        subprocess.run([*install, str(wheel_of(member))], check=True)
        work = Path(folder) / "empty"
        work.mkdir()
        # -I: neither this repository nor the user's site can lend what the wheel lacks.
        runner, readme = ROOT / "tools" / "run_readme_block.py", member / "README.md"
        extras = runnable_blocks(readme.read_text())
        if "" not in extras and not is_app:
            raise SystemExit(f"{readme}: there is no ```python block to run")
        for extra in sorted(extras):
            if extra:
                wanted = f"{project['name']}[{extra}] @ {wheel_of(member).as_uri()}"
                subprocess.run([*install, wanted], check=True)
            subprocess.run([python, "-I", runner, readme, *filter(None, [extra])], cwd=work, check=True)
        for script in project.get("scripts", {}):
            command = [environment / "bin" / script, "--help"]
            subprocess.run(command, cwd=work, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def main() -> None:
    """Command line: the members named, or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "members", nargs="*", type=Path, help="folders such as packages/reid-eval; default: all"
    )
    given = [path.resolve() for path in parser.parse_args().members]
    local = ROOT / ".uv" / "bin" / "uv"
    uv = shutil.which("uv") or str(local)
    members = given or [path.parent for path in sorted(ROOT.glob("[pa]*s/*/pyproject.toml"))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # an installation waits for the disk, imports for a core
        for member, seconds in zip(members, pool.map(lambda member: check(member, uv), members), strict=True):
            print(f"{member.relative_to(ROOT)}: its wheel works alone ({seconds:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
