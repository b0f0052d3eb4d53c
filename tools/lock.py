"""Write requirements.lock from what the members declare, or check that it still answers them.

The members themselves are left out of the request, so no index is ever asked for their names: a stranger's
package of the same name can't slip in. The lock has hashes and no index address, so it resolves through
whatever mirror the environment configures.

    python tools/lock.py            renew: newest versions the declared ranges allow
    python tools/lock.py --keep     add or drop what the declarations ask for, upgrade nothing else
    python tools/lock.py --check    fail when --keep would change a pinned version; new releases don't matter
"""

from __future__ import annotations

import argparse
import difflib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
PANTS_LOCK = ROOT / "tools" / "pants" / "tools.lock"
PANTS_TOOLS = ("pytest", "ruff")
"""What Pants itself runs, installed from the part of the lock that they need: not all of torch."""
OVERRIDES = ("opencv-python; sys_platform == 'never'",)
"""Against what libraries declare: the build of OpenCV with windows writes over the headless one's files."""
HEADER = "# Written by `make lock` from the members' pyproject.toml and requirements-dev.in: edit those.\n"


def normalised(name: str) -> str:
    """Distribution name as PEP 503 compares it.

    >>> normalised("Open_CLIP.torch")
    'open-clip-torch'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def distribution(requirement: str) -> str:
    """Name that a requirement line asks for.

    >>> distribution("jsonargparse[signatures]>=4.40 ; python_version > '3'")
    'jsonargparse'
    """
    return normalised(re.split(r"[\s\[<>=!~;@(]", requirement.strip(), maxsplit=1)[0])


def members() -> list[Path]:
    """The pyproject.toml of every package and app."""
    return sorted([*ROOT.glob("packages/*/pyproject.toml"), *ROOT.glob("apps/*/pyproject.toml")])


def declared() -> list[str]:
    """Every requirement of every member, its extras and the development tools, without the members."""
    projects = [tomllib.loads(path.read_text()) for path in members()]
    own = {normalised(project["project"]["name"]) for project in projects}
    lines: set[str] = set()
    for project in projects:
        lines.update(project["project"].get("dependencies", []))
        for extra in project["project"].get("optional-dependencies", {}).values():
            lines.update(extra)
        lines.update(project["build-system"]["requires"])
    tools = (line.split("#")[0].strip() for line in (ROOT / "requirements-dev.in").read_text().splitlines())
    lines.update(line for line in tools if line)
    return sorted(line for line in lines if distribution(line) not in own)


def compile_lock(
    requirements: Iterable[str], output: Path, upgrade: bool, constraint: Path | None = None
) -> None:
    """Resolve for every platform into `output`, which serves as the preferred versions unless `upgrade`."""
    local = Path(sys.executable).parent / "uv"
    uv = shutil.which("uv") or (str(ROOT / ".uv" / "bin" / "uv") if not local.exists() else str(local))
    command = [
        uv,
        "pip",
        "compile",
        "-",
        "--quiet",
        "--universal",
        "--python-version",
        "3.11",
        "--generate-hashes",
    ]
    command += ["--no-emit-index-url", "--no-annotate", "--no-header", "--output-file", str(output)]
    command += ["--upgrade"] if upgrade else []
    command += ["--constraint", str(constraint)] if constraint else []
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as overrides:
        overrides.write("\n".join(OVERRIDES))
        overrides.flush()
        subprocess.run(
            [*command, "--override", overrides.name],
            input="\n".join(requirements),
            text=True,
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=ROOT,
        )


def pins(text: str) -> list[str]:
    r"""Pinned requirements of a lock without their hashes (an index may gain files for a pinned version).

    >>> pins("# note\nnumpy==2.0 ; sys_platform == 'linux' \\\n    --hash=sha256:00\n")
    ["numpy==2.0 ; sys_platform == 'linux'"]
    """
    return [line.rstrip(" \\") for line in text.splitlines() if line and not line.startswith(("#", " "))]


def main() -> int:
    """Command line; the exit status is 1 when --check finds the lock stale."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing, fail when the lock is stale")
    parser.add_argument("--keep", action="store_true", help="keep pinned versions that still fit")
    options = parser.parse_args()
    stale = False
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / LOCK.name
        if LOCK.exists():
            shutil.copy(LOCK, fresh)
        compile_lock(declared(), fresh, upgrade=not (options.check or options.keep))
        part = Path(folder) / PANTS_LOCK.name
        compile_lock(PANTS_TOOLS, part, upgrade=False, constraint=fresh)
        for lock, source in ((LOCK, fresh), (PANTS_LOCK, part)):
            text = HEADER + source.read_text()
            if options.check:
                stale |= not same_pins(lock, text)
            else:
                write(lock, text)
    if stale:
        print("stale: run `make lock` (or `python tools/lock.py --keep`) and commit the result")
    return int(stale)


def same_pins(lock: Path, text: str) -> bool:
    """Whether a lock pins what `text` does; says what differs."""
    old, new = pins(lock.read_text()) if lock.exists() else [], pins(text)
    if old == new:
        print(f"{lock.name} answers what the members declare ({len(new)} pinned requirements)")
    else:
        name = str(lock.relative_to(ROOT))
        print("\n".join(difflib.unified_diff(old, new, name, "what the members declare", lineterm="", n=0)))
    return old == new


def write(lock: Path, text: str) -> None:
    """Replace a lock in one step."""
    partial = lock.with_suffix(".lock.partial")
    partial.write_text(text)
    partial.replace(lock)
    print(f"{lock.name}: {len(pins(text))} pinned requirements")


if __name__ == "__main__":
    sys.exit(main())
