"""Exact evaluation in seconds and megabytes: Market-1501's and MSMT17's sizes, a million rows on disk.

Features are synthetic: people are random directions, and each camera and each image adds to them. Every
measurement is a process of its own, which reads the features, warms up on a few rows and then reports the
median seconds of up to seven calls, as many as begin within 20 s, and the memory they added at their peak.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _dense_evaluation as dense
import numpy as np
import torch
from _record import RESULTS, write_record

from reid_eval import evaluate, k_reciprocal

FAR = (1e-4, 1e-3, 1e-2)
CALLS, CALLING = 7, 20.0  # at most so many calls of a task, for so many seconds
COLUMNS = ("queries", "gallery", "columns", "people", "cameras", "distractors")
SIZES = {
    "market1501": (3368, 15913, 768, 750, 6, 2798, np.float32),
    "msmt17": (11659, 82161, 768, 3060, 15, 0, np.float32),
    "million": (1000, 1_000_000, 512, 20_000, 20, 500_000, np.float16),
}


def make(name: str, folder: Path, scale: float) -> None:
    """Write one data set's features, pids and camids."""
    queries, gallery, columns, people, cameras, distractors, dtype = SIZES[name]
    queries, gallery, people, distractors = (
        max(1, int(scale * count)) for count in (queries, gallery, people, distractors)
    )
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(people + 1, columns)).astype(np.float32)
    views = rng.normal(size=(cameras, columns)).astype(np.float32)
    for side, count, strangers in (("query", queries, 0), ("gallery", gallery, distractors)):
        pids = rng.integers(1, people + 1, count)
        pids[rng.permutation(count)[:strangers]] = 0
        camids = rng.integers(0, cameras, count)
        features = np.lib.format.open_memmap(folder / f"{name}_{side}.npy", "w+", dtype, (count, columns))
        for start in range(0, count, 10_000):
            some = slice(start, min(start + 10_000, count))
            noise = rng.normal(size=(some.stop - start, columns)).astype(np.float32)
            strange = (pids[some] == 0)[:, None]
            rows = np.where(strange, noise, centres[pids[some]]) + 0.5 * views[camids[some]] + 2.2 * noise
            features[some] = rows
        np.savez(folder / f"{name}_{side}.npz", pids=pids, camids=camids)


def load(name: str, folder: Path) -> tuple[np.ndarray, ...]:
    """Query and gallery features, pids and camids; half precision stays on disk."""
    mode: Any = "r" if SIZES[name][-1] == np.float16 else None
    features = [np.load(folder / f"{name}_{side}.npy", mmap_mode=mode) for side in ("query", "gallery")]
    tables = [np.load(folder / f"{name}_{side}.npz") for side in ("query", "gallery")]
    return (*features, *(table[column] for column in ("pids", "camids") for table in tables))


def ours(case: tuple[np.ndarray, ...], device: str, **options: Any) -> dict[str, float]:
    result = evaluate(*case, device=device, **options)
    return {key: value for key, value in result.summary().items() if not isinstance(value, str)}


def reranked(case: tuple[np.ndarray, ...], device: str) -> dict[str, float]:
    return ours(case, device, reranking=k_reciprocal(case[0], case[1]))


TASKS: dict[str, tuple[str, Callable[[tuple[np.ndarray, ...], str], dict[str, float]]]] = {
    "market1501": ("market1501", ours),
    "market1501, TAR@FAR": ("market1501", lambda case, device: ours(case, device, far=FAR)),
    "market1501, argsort of the matrix": ("market1501", dense.argsort_of_the_matrix),
    "market1501, Python a query": ("market1501", dense.python_a_query),
    "market1501, compute_AP a query": ("market1501", dense.compute_ap),
    "market1501 re-ranked": ("market1501", reranked),
    "market1501 re-ranked, dense": ("market1501", dense.re_ranked),
    "msmt17": ("msmt17", ours),
    "msmt17, TAR@FAR": ("msmt17", lambda case, device: ours(case, device, far=FAR)),
    "million": ("million", ours),
}


def memory(line: str) -> float:
    """A line of /proc/self/status in MB: VmRSS, or VmHWM for the peak."""
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(row.split()[1]) / 1024 for row in rows if row.startswith(line))


def measure(task: str, folder: Path, device: str) -> dict[str, Any]:
    """Run one task in this process."""
    name, function = TASKS[task]
    case = load(name, folder)
    # A few queries and their people's rows make the libraries load and start their threads.
    some = np.flatnonzero(np.isin(case[3], case[2][:50]))[:500]
    few = tuple(array[some] if number % 2 else array[:50] for number, array in enumerate(case))
    function(few, device)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, seconds, cpu_seconds = memory("VmRSS"), [], []
    while len(seconds) < CALLS and sum(seconds) < CALLING:
        start, cpu = time.perf_counter(), time.process_time()
        found = function(case, device)
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu)
    return {
        "seconds": round(statistics.median(seconds), 2),
        "fastest": round(min(seconds), 2),
        "calls": len(seconds),
        "cpu_seconds": round(statistics.median(cpu_seconds), 2),
        "extra_mb": round(memory("VmHWM") - before),
        **({"gpu_mb": round(torch.cuda.max_memory_allocated() / 2**20)} if device != "cpu" else {}),
        "found": {key: round(value, 6) for key, value in found.items()},
    }


def compared(tasks: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Each promise beside what was measured, where it was."""
    plain, again = tasks.get("market1501", {}), tasks.get("market1501 re-ranked", {})
    slow, python = (
        tasks.get(f"market1501, {way}", {}) for way in ("argsort of the matrix", "Python a query")
    )
    dense_again = tasks.get("market1501 re-ranked, dense", {})
    rows = [
        ("market1501: times faster than TransReID's argsort, our transcription, at least", 2.6, slow, plain),
        (
            "market1501: times faster than Python for each query, our transcription, at least",
            30,
            python,
            plain,
        ),
        ("market1501: extra MB, at most", 150, plain, "extra_mb"),
        ("msmt17: seconds, at most", 60, tasks.get("msmt17", {}), "seconds"),
        ("msmt17: extra MB, at most", 1024, tasks.get("msmt17", {}), "extra_mb"),
        ("msmt17, TAR@FAR: seconds, at most", 100, tasks.get("msmt17, TAR@FAR", {}), "seconds"),
        ("million: extra MB, at most", 2048, tasks.get("million", {}), "extra_mb"),
        ("re-ranking: times faster than dense matrices, our transcription, at least", 5, dense_again, again),
        ("re-ranking: extra MB, at most", 150, again, "extra_mb"),
    ]
    return {
        name: {
            "target": target,
            "measured": found[by] if isinstance(by, str) else round(found["seconds"] / by["seconds"], 1),
        }
        for name, target, found, by in rows
        if found and by
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu or cuda, for ours and for the others' distances")
    parser.add_argument("--scale", type=float, default=1.0, help="share of each size, to try it out")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), metavar="TASK")
    parser.add_argument("--note", default="", help="about the machine, such as what else ran on it")
    parser.add_argument("--folder", type=Path, help="for the features; by default a temporary one")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--measure", choices=TASKS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.folder, arguments.device)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in {TASKS[task][0] for task in arguments.tasks}:
            make(name, folder, arguments.scale)
        tasks = {}
        for task in arguments.tasks:
            command = [sys.executable, __file__, "--measure", task, "--folder", str(folder)]
            run = subprocess.run(
                [*command, "--device", arguments.device], stdout=subprocess.PIPE, text=True, check=True
            )
            tasks[task] = json.loads(run.stdout)
            print(f"{task}: {tasks[task]['seconds']} s, {tasks[task]['extra_mb']} MB", file=sys.stderr)
    output = arguments.output or RESULTS / f"evaluate_{arguments.device}.json"
    promises = compared(tasks)
    write_record(
        output,
        "exact evaluation at the sizes of public data sets, on synthetic features",
        {"gpu": torch.cuda.get_device_name()} if arguments.device != "cpu" else {},
        device=arguments.device,
        scale=arguments.scale,
        note=arguments.note,
        sizes={name: dict(zip(COLUMNS, size[:-1], strict=True)) for name, size in SIZES.items()},
        promises=promises,
        tasks=tasks,
    )
    print(json.dumps(promises, indent=2))


if __name__ == "__main__":
    main()
