"""A synthetic world of a million manifest rows loads, validates and yields its first PK batch: 10 s, 1 GiB.

The memory is the whole process's peak, imports and all.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _record import RESULTS, write_record

TARGETS = {"seconds": 10.0, "peak_gib": 1.0}
PK = (16, 4)
IMAGES_PER_IDENTITY = 20
CAMERAS = 6


def write_world(path: Path, rows: int) -> None:
    """Save a manifest of synthetic rows (no images): people before cameras, tracklets, Market-like names."""
    import numpy as np
    import pandas as pd

    from reid_core.data.manifest import Manifest

    row = np.arange(rows)
    pid = row // IMAGES_PER_IDENTITY + 1
    camid = row % IMAGES_PER_IDENTITY * CAMERAS // IMAGES_PER_IDENTITY + 1
    names = [
        f"train/{p // 1000:04}/{p:07}_c{c}s1_{r:08}_00.jpg" for p, c, r in zip(pid, camid, row, strict=True)
    ]
    table = pd.DataFrame({"path": names, "pid": pid, "camid": camid, "split": "train"})
    table["tracklet"] = pid * CAMERAS + camid
    table["frame"] = row % IMAGES_PER_IDENTITY
    Manifest(table, path.parent, "synthetic world").save(path)


def measure(path: Path) -> dict[str, float]:
    """Load and validate the manifest and draw its first PK batch, in this process."""
    from reid_core.data.manifest import Manifest
    from reid_core.data.samplers import PKBatches

    imported = peak_gib()
    began, cpu = time.perf_counter(), time.process_time()
    manifest = Manifest.load(path)
    loaded = time.perf_counter()
    batch = next(iter(PKBatches(manifest.pids, *PK, steps=1)))
    drawn = time.perf_counter()
    assert len(batch) == PK[0] * PK[1]
    peak = peak_gib()
    return {
        "load_and_validate_s": loaded - began,
        "first_batch_s": drawn - loaded,
        "seconds": drawn - began,
        "cpu_s": time.process_time() - cpu,
        "peak_gib_above_imports": peak - imported,
        "peak_gib": peak,
    }


def peak_gib() -> float:
    """Most memory this process has held, GiB (Linux counts KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def run(rows: int) -> dict[str, float]:
    """Write the world in one process and measure in another, for making rows isn't loading them."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            __file__,
            "--rows",
            str(rows),
            "--path",
            f"{folder}/world.parquet",
            "--part",
        ]
        subprocess.run([*command, "write"], check=True)
        done = subprocess.run([*command, "measure"], check=True, capture_output=True, text=True)
    return {name: round(value, 3) for name, value in json.loads(done.stdout.splitlines()[-1]).items()}


def main() -> None:
    """Print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--output", type=Path, default=RESULTS / "manifest_scale.json")
    parser.add_argument("--part", choices=["write", "measure"], help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part == "write":
        return write_world(arguments.path, arguments.rows[0])
    if arguments.part == "measure":
        return print(json.dumps(measure(arguments.path)))
    measured = {str(rows): run(rows) for rows in arguments.rows}
    first = next(iter(measured.values()))
    met = all(first[name] <= limit for name, limit in TARGETS.items())
    write_record(
        arguments.output,
        "a manifest of synthetic rows loads, validates and yields its first PK batch (by rows)",
        targets=TARGETS,
        measured=measured,
        met=met,
    )
    print(json.dumps(measured, indent=2), "met" if met else "not met", sep="\n")


if __name__ == "__main__":
    main()
