"""What every benchmark writes down beside its numbers, and how."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"

BUSY = 0.1
"""Share of the machine's cores that others used meanwhile, above which a result is marked as disturbed."""


class Meter:
    """What this process, its children and everybody else on the machine use, from now on.

    Attributes:
        seconds: by the clock.
        cpu_seconds: of this process and of its children that have ended.
        others: share of all cores' time that others used, the machine's host among them.
        busy: whether that is more than BUSY.
    """

    def __init__(self) -> None:
        self._began = time.perf_counter(), _own_cpu(), _all_cpu()

    def stop(self) -> Meter:
        """Fill in the attributes."""
        now = time.perf_counter(), _own_cpu(), _all_cpu()
        self.seconds, self.cpu_seconds, everybody = (
            end - begin for end, begin in zip(now, self._began, strict=True)
        )
        cores = self.seconds * (os.cpu_count() or 1)
        self.others = max(0.0, everybody - self.cpu_seconds) / cores
        self.busy = self.others > BUSY
        return self


def _own_cpu() -> float:
    return sum(os.times()[:4])


def _all_cpu() -> float:
    """CPU seconds since the machine started, of everybody: all but idling and waiting for disks."""
    spent = psutil.cpu_times()._asdict()
    within_user = ("guest", "guest_nice")
    return sum(spent.values()) - sum(spent.get(name, 0.0) for name in ("idle", "iowait", *within_user))


WHOLE_RUN = Meter()


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, cwd=ROOT).stdout.strip()


def _find_revision() -> str:
    """The commit at hand, with "+changes" where tracked files differ from it.

    It is the variable REVISION where a copy has no git folder, and empty where neither is.
    """
    if told := os.environ.get("REVISION"):
        return told
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results")
    except FileNotFoundError:
        return ""
    return commit + "+changes" * bool(commit and changed)


REVISION = _find_revision()
"""As the benchmark begins: the files may change while it runs."""


def read_stages(run_folder: Path) -> dict[str, dict[str, Any]]:
    """Records of a run's finished stages, which its folder links to, by name.

    Args:
        run_folder: runs/EXPERIMENT/NAME.
    """
    files = sorted([*run_folder.glob("*/stage.json"), *run_folder.glob("*/*/stage.json")])
    return {file.parent.relative_to(run_folder).as_posix(): json.loads(file.read_text()) for file in files}


def write_record(path: Path, claim: str, machine: dict[str, Any] | None = None, **measured: Any) -> None:
    """Write a result file: the claim, the command, date, revision and machine, and what was measured.

    Args:
        path: file to write, under a temporary name first.
        claim: what the numbers are of.
        machine: what to say of the machine besides, such as its GPU.
        measured: the numbers by name.
    """
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    processors = (line.split(":")[1].strip() for line in lines if "model name" in line)
    record = {
        "claim": claim,
        "command": describe_command(),
        "date": date.today().isoformat(),
        "revision": REVISION,
        "machine": {
            "cpu": next(processors, platform.processor()),
            "cores": os.cpu_count(),
            "torch": version("torch"),
            **(machine or {}),
        },
        "run": describe_run(),
        **measured,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=2) + "\n")
    partial.rename(path)


def describe_command() -> str:
    """The command at hand; a folder of the user's, an absolute path, is its option's name in capitals."""
    words, option = ["python", f"benchmarks/{Path(sys.argv[0]).name}"], ""
    for word in sys.argv[1:]:
        name, equals, value = word.partition("=") if word.startswith("--") else (option, "", word)
        option = name
        if Path(value).is_absolute():
            word = f"{name}{equals}" * bool(equals) + (name.lstrip("-").upper() or "PATH")
        words.append(word)
    return shlex.join(words)


def describe_run() -> dict[str, Any]:
    """Seconds and CPU seconds of this process and its children, the share of the cores that others used."""
    used = WHOLE_RUN.stop()
    return {
        "seconds": round(used.seconds, 1),
        "cpu_seconds": round(used.cpu_seconds, 1),
        "others": round(used.others, 2),
        "busy": used.busy,
    }
