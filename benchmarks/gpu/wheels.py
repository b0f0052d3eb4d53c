"""Unpack those wheels of a folder whose distributions this Python lacks: python wheels.py FOLDER SITE."""

from __future__ import annotations

import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def unpack(folder: Path, site: Path) -> list[str]:
    """Unpack into `site`, which goes on the path; the names of what was."""
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        raise SystemExit(f"{folder} holds no wheel; fill it by tools/gpu_wheels.sh {folder}")
    taken = []
    for wheel in wheels:
        name = wheel.name.split("-")[0]
        try:
            version(name)
        except PackageNotFoundError:
            with zipfile.ZipFile(wheel) as content:
                content.extractall(site)
            taken.append(name)
    return taken


if __name__ == "__main__":
    found = unpack(Path(sys.argv[1]), Path(sys.argv[2]))
    print(f"from wheels: {', '.join(found) or 'nothing, all is installed'}", file=sys.stderr)
