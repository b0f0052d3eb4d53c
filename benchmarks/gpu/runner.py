"""A group of parts, each in a process of its own with a time limit: one fails, and the next one runs."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parent.parent
sys.path.append(str(BENCHMARKS))

from _record import write_record  # noqa: E402  (beside this folder, wherever the command is given)

DEVICE = "device"
"""The part that says what the others run on; where it fails nothing else can run."""

TINY_TIME = 4
"""Times the limits with --tiny: a CPU has two cores and much else to do."""

TAIL = 30
"""Last lines of a failed part's output that the result keeps."""

METHODS = ("forkserver", "spawn")
"""How a part's process starts: from one that has imported what most need, and if that was no good, anew."""

PRELOADED = ("torch", "torchvision", "timm", "lightning.pytorch", "reid_core.models.backbones.zoo")
"""Imported once for all parts."""

BAD_FORK = 75
"""Exit status of a part's process in whose parent CUDA was started: it can't be used there any more."""

LINE = 150
"""Characters of a line of the table."""

Results = dict[str, dict[str, Any]]
"""Numbers by name, for each thing that a part measured."""


@dataclass(frozen=True)
class Context:
    """What a part is told, and where it says what it found.

    Attributes:
        tiny: whether sizes are to be small, to try everything out on a CPU.
        lines: file that results are added to, so that a part that is cut off keeps what it had.
    """

    tiny: bool
    lines: Path

    def report(self, name: str, **numbers: Any) -> None:
        """Keep what was found of one thing."""
        with self.lines.open("a") as lines:
            lines.write(json.dumps({name: numbers}) + "\n")
        print(name, numbers, flush=True)


@dataclass(frozen=True)
class Part:
    """One thing to find out.

    Attributes:
        name: of the part.
        seconds: it may take.
        run: "module:function" beside this file, called with a Context, and with what follows another colon;
            imported in the part's own process.
        needs: modules without which it is left out.
    """

    name: str
    seconds: int
    run: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """Parts that write one file.

    Attributes:
        claim: what the file's numbers are of.
        seconds: all parts together may take.
        parts: in order; the first is DEVICE.
        goals: results by part -> what was promised beside what was found; None promises nothing.
    """

    claim: str
    seconds: int
    parts: Sequence[Part]
    goals: Callable[[dict[str, Results]], list[dict[str, Any]]] | None = None


def main(groups: dict[str, Group], description: str) -> int:
    """The command line; 0 where every part passed or was left out for what is missing."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("group", choices=groups)
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), help="folder for the JSON file")
    parser.add_argument("--tiny", action="store_true", help="small sizes, to try everything without a GPU")
    parser.add_argument("--parts", nargs="+", metavar="PART", help="these parts alone")
    parser.add_argument("--seconds", type=int, help="for the whole group; each part's share grows with it")
    arguments = parser.parse_args()
    group = groups[arguments.group]
    known = [part.name for part in group.parts]
    if unknown := set(arguments.parts or ()).difference(known):
        parser.error(f"--parts: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    chosen = [part for part in group.parts if part.name in {DEVICE, *(arguments.parts or known)}]
    # Availability is then asked of the driver's library, which leaves CUDA alone in the process that forks.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    multiprocessing.get_context(METHODS[0]).set_forkserver_preload(list(PRELOADED))
    return run_group(arguments.group, group, chosen, arguments)


def run_group(name: str, group: Group, parts: Sequence[Part], arguments: argparse.Namespace) -> int:
    """Run parts in order; the file is written anew after each, so that a cut leaves what there is."""
    began = time.monotonic()
    limit = arguments.seconds or group.seconds * (TINY_TIME if arguments.tiny else 1)
    done: dict[str, dict[str, Any]] = {}
    goals: list[dict[str, Any]] = []
    for part in parts:
        print(f"-- {name}: {part.name}", file=sys.stderr, flush=True)
        if done and done[DEVICE]["status"] != "passed":
            done[part.name] = _left_out("no device")
        else:
            seconds = min(part.seconds * max(1.0, limit / group.seconds), limit - time.monotonic() + began)
            done[part.name] = run_part(part, seconds, arguments.tiny)
        results = {key: found["results"] for key, found in done.items()}
        if group.goals and not arguments.tiny:
            goals = group.goals(results)
        write_record(
            arguments.out / f"{name}.json",
            group.claim,
            results[DEVICE].get("machine"),
            command=f"benchmarks/gpu.sh {name}" + (" --tiny" if arguments.tiny else ""),
            seconds=round(time.monotonic() - began, 1),
            goals=goals,
            parts=done,
        )
    print_table(done, goals)
    return int(any(found["status"] in ("failed", "cut off") for found in done.values()))


def run_part(part: Part, seconds: float, tiny: bool) -> dict[str, Any]:
    """Run one part in a process of its own: its status, seconds, results, and why it has none."""
    missing = [module for module in part.needs if importlib.util.find_spec(module) is None]
    if missing:
        return _left_out(f"not installed: {', '.join(missing)}")
    if seconds < 1:
        return _left_out("the group's time is up; --seconds gives more, --parts runs this one alone")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        lines, log = Path(folder, "lines"), Path(folder, "log")
        log.touch()
        for method in METHODS:
            process: Any = multiprocessing.get_context(method).Process(  # type: ignore[attr-defined]
                target=work, args=(part, tiny, lines, log, multiprocessing.get_start_method())
            )
            process.start()
            process.join(seconds)
            code = process.exitcode
            _end(process)
            if code != BAD_FORK:
                break
        found: Results = {}
        for line in lines.read_text().splitlines() if lines.exists() else ():
            for name, numbers in json.loads(line).items():
                found.setdefault(name, {}).update(numbers)
        tail = log.read_text(errors="replace").splitlines()[-TAIL:]
    status = {0: "passed", None: "cut off"}.get(code, "failed")
    record = {"status": status, "seconds": round(time.monotonic() - began, 1), "results": found}
    if status == "passed":
        return record
    print("\n".join(tail), file=sys.stderr, flush=True)
    why = f"took longer than {seconds:.0f} s" if code is None else f"ended with status {code}"
    return {**record, "why": why, "output": tail}


def work(part: Part, tiny: bool, lines: Path, log: Path, start_method: str) -> None:
    """What a part's process does: run it, in a session of its own and with its output in a file."""
    os.setsid()  # so that its loaders' workers can be ended with it
    multiprocessing.set_start_method(start_method, force=True)  # theirs is Python's own, as in a training
    with log.open("a") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda._is_in_bad_fork():
        raise SystemExit(BAD_FORK)
    module, function, *more = part.run.split(":")
    getattr(importlib.import_module(module), function)(Context(tiny, lines), *more)


def _end(process: Any) -> None:
    """End a part's process and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def _left_out(why: str) -> dict[str, Any]:
    return {"status": "left out", "seconds": 0.0, "results": {}, "why": why}


def print_table(done: dict[str, dict[str, Any]], goals: list[dict[str, Any]]) -> None:
    """What was found, a line for each thing; then the goals."""
    width = max(map(len, done))
    for name, part in done.items():
        print(f"{name:{width}}  {part['status']:8} {part['seconds']:6.1f} s  {part.get('why', '')}".rstrip())
        for thing, numbers in part["results"].items():
            shown = (
                f"{key} {value}" for key, value in numbers.items() if isinstance(value, (int, float, str))
            )
            print(f"  {thing}: {'  '.join(text for text in shown if chr(10) not in text)}"[:LINE])
    for goal in goals:
        measured = "not measured" if goal["measured"] is None else goal["measured"]
        verdict = {True: "met", False: "missed", None: ""}[goal["met"]]
        print(f"goal: {goal['name']}: {goal['target']}; {measured} {verdict}".rstrip())
