"""K-reciprocal Jaccard distances and DBSCAN of 50,000 features of 768 numbers, in less than 3 GiB.

Features are synthetic: people are random directions, and each camera and each image adds to them. They are
made in one process and clustered in another, whose whole memory counts; all distances alone would take 10 GB.
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

import numpy as np
from _record import RESULTS, write_record

TARGET_GIB = 3.0
DIM, IMAGES_PER_PERSON, CAMERAS = 768, 17, 6
NOISE, VIEW = 2.2, 0.5
"""Lengths of what an image and a camera add, beside a person's 1."""


def write_features(path: Path, rows: int) -> None:
    """Save synthetic features [rows 768] and, beside them, their people."""
    rng = np.random.default_rng(0)
    pids = rng.integers(0, max(1, rows // IMAGES_PER_PERSON), rows)
    centres = rng.normal(size=(pids.max() + 1, DIM)).astype(np.float32)
    views = VIEW * rng.normal(size=(CAMERAS, DIM)).astype(np.float32)
    features = rng.standard_normal((rows, DIM), dtype=np.float32)
    features *= NOISE
    features += centres[pids] + views[rng.integers(0, CAMERAS, rows)]
    np.save(path, features)
    np.save(path.with_suffix(".pids.npy"), pids)


def measure(path: Path) -> dict[str, float]:
    """Cluster saved features in this process."""
    from sklearn.metrics import adjusted_rand_score

    from reid_core.training.unsupervised import cluster, jaccard_distance

    imported = peak_gib()
    features = np.load(path)
    began, cpu = time.perf_counter(), time.process_time()
    distances = jaccard_distance(features)
    encoded = time.perf_counter()
    labels = cluster(distances)
    ended = time.perf_counter()
    peak = peak_gib()
    return {
        "distances_s": encoded - began,
        "dbscan_s": ended - encoded,
        "seconds": ended - began,
        "cpu_s": time.process_time() - cpu,
        "peak_gib": peak,
        "peak_gib_above_imports": peak - imported,
        "pairs_stored": distances.nnz,
        "clusters": int(labels.max()) + 1,
        "outliers": int((labels < 0).sum()),
        "adjusted_rand_index": adjusted_rand_score(np.load(path.with_suffix(".pids.npy")), labels),
    }


def peak_gib() -> float:
    """Most memory this process has held, GiB (Linux counts KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def run(rows: int) -> dict[str, float]:
    """Make features in one process and cluster them in another."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--rows", str(rows), "--path", f"{folder}/features.npy"]
        subprocess.run([*command, "--part", "write"], check=True)
        done = subprocess.run([*command, "--part", "measure"], check=True, stdout=subprocess.PIPE, text=True)
    return {name: round(value, 3) for name, value in json.loads(done.stdout.splitlines()[-1]).items()}


def main() -> None:
    """Print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--output", type=Path, default=RESULTS / "pairs.json")
    parser.add_argument("--part", choices=["write", "measure"], help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part == "write":
        return write_features(arguments.path, arguments.rows)
    if arguments.part == "measure":
        return print(json.dumps(measure(arguments.path)))
    measured = run(arguments.rows)
    met = measured["peak_gib"] <= TARGET_GIB
    write_record(
        arguments.output,
        "k-reciprocal neighbours and DBSCAN of synthetic features within 3 GiB of process memory",
        features=[arguments.rows, DIM],
        target_gib=TARGET_GIB,
        measured=measured,
        met=met,
    )
    print(json.dumps(measured, indent=2), "met" if met else "not met", sep="\n")


if __name__ == "__main__":
    main()
