"""Beside peers in one run: embedding images with one backbone, and evaluating 20,000 x 20,000 features.

    python benchmarks/gallery_peers.py --peers PYTHON

PYTHON is an interpreter with `open-metric-learning` and `reid==0.1.0rc1` (benchmarks/peers.txt) beside this
repository's distributions. Every part is a process of its own on one thread; the backbone is timm's resnet18
with the same random weights, images are synthetic JPEGs. Evaluation: open-metric-learning ranks the first
100 answers alone, the other two all of them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _record import RESULTS, write_record
from torch import nn

SIZE, BATCH, DIM = (256, 128), 32, 512
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PEERS = {"reid-core, reid-eval": "reid-core", "open-metric-learning": "open-metric-learning", "reid": "reid"}
"""Name in the result: distribution."""


def backbone() -> nn.Module:
    """timm's resnet18 without a classifier, the same for all."""
    import timm

    torch.manual_seed(0)
    return timm.create_model("resnet18", num_classes=0).eval()


def features(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clustered features, their persons and cameras."""
    rng = np.random.default_rng(0)
    pids = rng.integers(0, size // 20, size)
    people = rng.standard_normal((size // 20, DIM), dtype=np.float32)
    return (
        people[pids] + 2 * rng.standard_normal((size, DIM), dtype=np.float32),
        pids,
        rng.integers(0, 6, size),
    )


def embed_ours(files: list[Path]) -> np.ndarray:
    """By reid-core's Embedder."""
    from reid_core.models import Embedder, Preprocessing

    model = Embedder(backbone(), Preprocessing(SIZE, MEAN, STD), metric="euclidean")
    return model.embed(files, batch_size=BATCH, device="cpu", workers=1)


def embed_oml(files: list[Path]) -> np.ndarray:
    """By open-metric-learning's inference over its data set."""
    from oml.datasets import ImageBaseDataset
    from oml.inference import inference
    from torchvision import transforms

    steps = [transforms.Resize(SIZE), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    dataset = ImageBaseDataset(files, transform=transforms.Compose(steps))
    return inference(backbone(), dataset, batch_size=BATCH).numpy()


def embed_reid(files: list[Path]) -> np.ndarray:
    """By reid's ReIDModel."""
    from reid import ReIDModel, ReIDPreprocessing

    about = ReIDPreprocessing(input_size=SIZE)
    model = ReIDModel(backbone(), torch.device("cpu"), about)
    return model.extract_embeddings_from_paths([str(file) for file in files], batch_size=BATCH)


def evaluate_ours(size: int) -> dict[str, float]:
    """By reid-eval."""
    from reid_eval import evaluate

    query, pids, camids = features(size)
    gallery = query[::-1] + np.float32(0.5)
    result = evaluate(query, gallery, pids, pids[::-1].copy(), camids, camids[::-1].copy())
    return {"mAP": result.mAP, "rank_1": result.cmc[1]}


def evaluate_oml(size: int) -> dict[str, float]:
    """By open-metric-learning; the first 100 answers, no camera rule."""
    from oml.functional.knn import batched_knn_qg
    from oml.metrics import calc_retrieval_metrics_rr
    from oml.retrieval import RetrievalResults

    query, pids, _ = features(size)
    gallery, labels = torch.from_numpy(query[::-1] + np.float32(0.5)), torch.from_numpy(pids)
    found = batched_knn_qg(torch.from_numpy(query), gallery, 100, labels, labels.flip(0))
    metrics = calc_retrieval_metrics_rr(
        RetrievalResults(*found), cmc_top_k=(1,), precision_top_k=(), map_top_k=(100,), verbose=False
    )
    return {"mAP": float(metrics["map"][100]), "rank_1": float(metrics["cmc"][1])}


def evaluate_reid(size: int) -> dict[str, float]:
    """By the functions that reid's own `evaluate` calls behind its models."""
    from reid import distance_matrix
    from reid.eval.metrics import _compute_reid_metrics

    query, pids, camids = features(size)
    gallery = query[::-1] + np.float32(0.5)
    found = _compute_reid_metrics(
        distance_matrix(query, gallery), pids, pids[::-1].copy(), camids, camids[::-1].copy()
    )
    return {"mAP": found.mean_average_precision / 100, "rank_1": found.rank1 / 100}


EMBED: dict[str, Callable[[list[Path]], np.ndarray]] = dict(
    zip(PEERS, (embed_ours, embed_oml, embed_reid), strict=True)
)
EVALUATE: dict[str, Callable[[int], dict[str, float]]] = dict(
    zip(PEERS, (evaluate_ours, evaluate_oml, evaluate_reid), strict=True)
)


def write_images(folder: Path, count: int) -> None:
    """JPEGs of synthetic people."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(count):
        small = rng.integers(0, 256, (32, 16, 3), dtype=np.uint8)
        Image.fromarray(small).resize((64, 128)).save(folder / f"{number:05d}.jpg", quality=90)


def part(name: str, task: str, folder: Path, size: int) -> dict[str, Any]:
    """One part, timed in this process."""
    torch.set_num_threads(1)
    if task == "embed":
        files = sorted(folder.glob("*.jpg"))
        EMBED[name](files[:BATCH])  # imports, and the first batch
        start, cpu = time.perf_counter(), time.process_time()
        found = EMBED[name](files)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        done = {"images_per_second": len(files) / seconds, "images_per_cpu_second": len(files) / cpu}
        return done | {"checksum": float(np.abs(found).mean())}
    EVALUATE[name](200)
    start, cpu = time.perf_counter(), time.process_time()
    metrics = EVALUATE[name](size)
    done = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return done | {"peak_gib": peak} | metrics


def run_part(python: str, name: str, task: str, folder: Path, size: int) -> dict[str, Any]:
    """One part in a process of its own, or why it could not be run."""
    command = [python, __file__, "--part", name, task, "--folder", str(folder), "--size", str(size)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return {"error": lines[-1] if lines else f"exit status {done.returncode}"}
    return json.loads(done.stdout.strip().splitlines()[-1])


def installed(python: str) -> dict[str, str]:
    """Versions of the peers in an interpreter."""
    code = "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))"
    found = {}
    for distribution in ("open-metric-learning", "reid", "numpy", "torch"):
        done = subprocess.run([python, "-c", code, distribution], capture_output=True, text=True)
        found[distribution] = done.stdout.strip() or "not installed"
    return found


def own_version() -> str:
    """reid-core's version."""
    try:
        return version("reid-core")
    except PackageNotFoundError:
        return "unknown"


def main() -> None:
    """Run all parts one after another, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peers", help="interpreter that has the peers")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--size", type=int, default=20_000)
    parser.add_argument("--out", type=Path, default=RESULTS / "gallery_peers.json")
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(part(*arguments.part, arguments.folder, arguments.size)))
        return
    if arguments.peers is None:
        print("skipped: give --peers PYTHON, an interpreter with benchmarks/peers.txt installed")
        return
    found: dict[str, dict[str, Any]] = {"embed": {}, "evaluate": {}}
    with tempfile.TemporaryDirectory() as temporary:
        write_images(Path(temporary), arguments.images)
        for task, results in found.items():
            for name in PEERS:
                python = sys.executable if name.startswith("reid-core") else arguments.peers
                results[name] = run_part(python, name, task, Path(temporary), arguments.size)
                print(task, name, results[name], flush=True)
    write_record(
        arguments.out,
        f"embedding {arguments.images} images with resnet18 at {SIZE[0]} x {SIZE[1]}, and evaluating "
        f"{arguments.size} queries in {arguments.size} features of {DIM} numbers, one thread each",
        versions=installed(arguments.peers) | {"reid-core": own_version()},
        **found,
    )


if __name__ == "__main__":
    main()
