"""A gallery of a million clustered features beside plain faiss: build, memory, queries/s, recall@10.

Rows are noisy copies of 250,000 people's points in 512 numbers, four of each, of unit length; people come
in groups that look alike. Both sides have the same inverted lists and quantiser; `reid_gallery` scores forty
times as many candidates exactly from the features on disk. Exact search on the same rows gives the truth.
Then one row in a hundred is added, and one person in a hundred forgotten. All of it in one run.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pandas as pd
from _record import RESULTS, write_record

from reid_core.data import Manifest
from reid_core.files import claim, create_memmap, finish
from reid_core.models import valid_path
from reid_gallery import gallery as parts
from reid_gallery.features import FEATURES_FILE, ROWS_FILE, Made, open_features, plain
from reid_gallery.forgetting import forget_people
from reid_gallery.gallery import Gallery
from reid_gallery.indexing import add_to_gallery, create_gallery

DIM, ROWS_A_PERSON, NOISE, K = 512, 4, 1.0, 10
CHUNK = 50_000


def write_features(folder: Path, people: int, seed: int, first: int = 0) -> Path:
    """A feature folder of clustered unit rows, in random order."""
    rng = np.random.default_rng(seed)
    rows = people * ROWS_A_PERSON
    pids = rng.permutation(np.repeat(np.arange(people), ROWS_A_PERSON))
    claim(folder, {"seed": seed, "people": people})
    # People in groups of a hundred that look alike, so that neighbours are not all of one person.
    groups = rng.normal(size=(max(1, people // 100), DIM)).astype(np.float32)
    centres = groups[rng.integers(0, len(groups), people)] + rng.normal(size=(people, DIM)).astype(np.float32)
    array = create_memmap(folder / FEATURES_FILE, (rows, DIM), np.float32)
    for start in range(0, rows, CHUNK):
        some = pids[start : start + CHUNK]
        noisy = centres[some] + NOISE * rng.normal(size=(len(some), DIM)).astype(np.float32)
        array[start : start + CHUNK] = noisy / np.linalg.norm(noisy, axis=1, keepdims=True)
    array.flush()
    np.save(folder / valid_path(FEATURES_FILE), np.ones(rows, dtype=bool))
    paths = [f"{pid + first}/{row}.jpg" for row, pid in enumerate(pids)]
    table = pd.DataFrame({"path": paths, "split": "gallery", "pid": pids + first + 1, "camid": 1})
    Manifest(table, folder).save(folder / ROWS_FILE)
    finish(folder, plain(Made("none", "0" * 64, {}, "cosine", DIM, rows, 0)))
    return folder


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What a work gives, and its seconds and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    return found, {
        "seconds": round(time.perf_counter() - wall, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
    }


def peak() -> float:
    """The most memory that the process has had, in GiB; mapped features that were read count."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


def searched(search: Callable[[np.ndarray], np.ndarray], queries: np.ndarray, truth: np.ndarray) -> dict:
    """Queries/s and recall of a search from queries to numbers."""
    found, spent = timed(lambda: search(queries))
    recall = float(np.mean([len(set(a) & set(b)) / K for a, b in zip(truth, found, strict=True)]))
    rates = {
        "queries/s": len(queries) / spent["seconds"],
        "queries/cpu s": len(queries) / spent["cpu_seconds"],
    }
    return {"recall@10": round(recall, 4), **{name: round(rate, 1) for name, rate in rates.items()}}


def truth_of(features: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Exact nearest rows, block by block."""
    best_scores = np.full((len(queries), K), -np.inf, dtype=np.float32)
    best = np.full((len(queries), K), -1)
    for start in range(0, len(features), CHUNK):
        scores = queries @ np.asarray(features[start : start + CHUNK]).T
        some = np.argpartition(-scores, K, axis=1)[:, :K]
        values = np.concatenate([best_scores, np.take_along_axis(scores, some, axis=1)], axis=1)
        numbers = np.concatenate([best, some + start], axis=1)
        order = np.argsort(-values, axis=1)[:, :K]
        best_scores, best = (np.take_along_axis(part, order, axis=1) for part in (values, numbers))
    return best


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=250_000)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmarks/gallery_scale"))
    parser.add_argument("--output", type=Path, default=RESULTS / "gallery_scale.json")
    given = parser.parse_args()
    shutil.rmtree(given.folder, ignore_errors=True)
    source = write_features(given.folder / "f", given.people, seed=0)
    more = write_features(given.folder / "more", given.people // 100, seed=1, first=given.people)
    features, _ = open_features(source)
    rng = np.random.default_rng(2)
    drawn = np.array(features.array[np.sort(rng.permutation(len(features.rows))[: given.queries])])
    queries = drawn + 0.5 / DIM**0.5 * rng.normal(size=drawn.shape).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    truth, exact = timed(lambda: truth_of(features.array, queries))
    found: dict[str, Any] = {"rows": len(features.rows), "dim": DIM, "queries": given.queries}
    found["exact"] = {"queries/s": round(given.queries / exact["seconds"], 1), **exact}

    made, spent = timed(lambda: create_gallery(source, given.folder / "g", exact=False))
    index_file = made.folder / made.facts.index
    found["gallery"] = {
        "build": spent,
        "index MB": round(index_file.stat().st_size / 1e6, 1),
        "peak GiB": peak(),
    }
    plainly, spent = timed(lambda: build_plain(features.array))
    found["plain faiss"] = {"build": spent, "peak GiB": peak()}
    plainly.nprobe = parts.PROBES
    made.search(queries[:10], K)  # opens the features
    found["plain faiss"] |= searched(lambda some: plainly.search(some, K)[1], queries, truth)
    found["gallery"] |= searched(lambda some: made.search(some, K)[0], queries, truth)

    before = index_file.read_bytes()
    grown, found["add 1 %"] = timed(lambda: add_to_gallery(more, made.folder))
    rows = open_features(more)[0]
    sought = np.array(rows.array[:200])
    numbers, _ = grown.search(sought, 1)
    found["add 1 %"]["found themselves"] = float(
        (numbers[:, 0] == len(features.rows) + np.arange(len(sought))).mean()
    )
    gone = [str(pid) for pid in range(1, given.people // 100 + 1)]
    _, found["forget 1 %"] = timed(lambda: forget_people(made.folder, gone))
    after = Gallery(made.folder)
    there = np.isin(features.rows.pids, np.arange(1, given.people // 100 + 1))
    answers, _ = after.search(np.ascontiguousarray(queries[:200]), K)
    found["forget 1 %"]["rows left"] = after.size
    found["forget 1 %"]["forgotten among answers"] = int(np.isin(answers, np.flatnonzero(there)).sum())
    found["same quantiser after both"] = quantiser(Gallery(made.folder).index) == quantiser(
        faiss.deserialize_index(np.frombuffer(before, dtype=np.uint8))
    )
    shutil.rmtree(given.folder)
    write_record(given.output, "a gallery of clustered features beside plain faiss", **found)


def build_plain(array: np.ndarray) -> faiss.Index:
    """The same kind of index, by faiss alone."""
    lists = max(1, round(len(array) ** 0.5))
    index = faiss.index_factory(DIM, f"IVF{lists},PQ{parts.codes_of(DIM)}np", faiss.METRIC_INNER_PRODUCT)
    drawn = np.random.default_rng(0).permutation(len(array))[: max(lists, 256) * 40]
    index.pq.cp.niter = parts.ITERATIONS
    index.train(np.array(array[np.sort(drawn)]))
    for start in range(0, len(array), CHUNK):
        index.add(np.array(array[start : start + CHUNK]))
    return index


def quantiser(index: faiss.Index) -> bytes:
    """What training made: the centroids of the lists."""
    ivf = faiss.extract_index_ivf(index)
    return ivf.quantizer.reconstruct_n(0, ivf.nlist).tobytes()


if __name__ == "__main__":
    main()
