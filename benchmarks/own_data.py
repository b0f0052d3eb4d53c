"""The five commands of docs/your-own-data.md on PKU-Reid in person folders, from a fresh clone.

    python benchmarks/own_data.py --pku FOLDER

The repository is cloned, its environment made by `make setup` (packages come from uv's cache where it has
them), and the page's commands run as they stand there, with one of a test person's images as the query.
Seconds and CPU seconds of each part; on a busy machine only the latter say something.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from _record import RESULTS, ROOT, write_record

BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
GOAL_MINUTES = 10


def link_people(images: Path, folder: Path) -> None:
    """A folder of links per person."""
    for file in sorted(images.rglob("*.png")):
        person = folder / file.name.partition("_")[0]
        person.mkdir(parents=True, exist_ok=True)
        (person / file.name).symlink_to(file.resolve())


def run(command: list[str], folder: Path) -> dict[str, Any]:
    """Run a command; its seconds and CPU seconds."""
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    after = os.times()
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)}: {done.stderr}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"{time.perf_counter() - start:.0f} s, {cpu:.0f} s of CPU: {shlex.join(command)}", flush=True)
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(cpu, 1),
        "output": done.stdout,
    }


def main() -> None:
    """Clone, set up, run the commands, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pku", type=Path, help="folder, which can't be part of the repository")
    arguments = parser.parse_args()
    if arguments.pku is None:
        print("skipped: give --pku")
        return
    parts: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clone, work = folder / "clone", folder / "work"
        link_people(arguments.pku, work / "crops")
        query = sorted((work / "crops").glob("*/*.png"))[0]
        (work / "query.jpg").symlink_to(query.resolve())
        parts["clone"] = run(["git", "clone", "--quiet", str(ROOT), str(clone)], folder)
        parts["make setup"] = run(["make", "setup"], clone)
        block = BLOCK.search((clone / "docs" / "your-own-data.md").read_text())
        assert block is not None
        for line in block[1].splitlines():
            program, *options = shlex.split(line)
            options = [str(clone / one) if one.startswith("apps/") else one for one in options]
            parts[line] = run([str(clone / ".venv" / "bin" / program), *options], work)
        first = json.loads(parts[line]["output"])["answers"][0]
        results = json.loads((work / "runs/own_data/first/evaluate/results.json").read_text())
        proof = json.loads((work / "exported" / "export.json").read_text())
    seconds = sum(part["seconds"] for part in parts.values())
    write_record(
        RESULTS / "own_data.json",
        "from a folder of people to a fine-tuned, evaluated, exported and searched model in five commands",
        goal_minutes=GOAL_MINUTES,
        minutes=round(seconds / 60, 1),
        cpu_minutes=round(sum(part["cpu_seconds"] for part in parts.values()) / 60, 1),
        parts={
            name: {key: value for key, value in part.items() if key != "output"}
            for name, part in parts.items()
        },
        results=results,
        export=proof,
        first_answer={"right": int(first["person"]) == int(query.parent.name), "score": first["score"]},
    )


if __name__ == "__main__":
    main()
