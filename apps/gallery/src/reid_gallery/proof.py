"""Whether an exported model is as good as the one it was made of, measured and put into its model card."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reid_core.models import Embedder
from reid_eval.comparison import compare_results
from reid_gallery.data_sets import DataSet
from reid_gallery.scoring import Scored, score
from reid_gallery.speed import images_per_second

RANDOM_IMAGES = 16
"""Compared where there is no data set."""
SPEED_BATCH = 16


@dataclass(frozen=True)
class Proof:
    """What was measured of an export.

    Attributes:
        compared: features compared, of a data set's queries and gallery or of random images.
        largest_difference: between a number of a feature and the exported model's.
        smallest_cosine: of a feature and the exported model's.
        data: name of the data set; empty where there was none, and the next three are None.
        queries: valid ones.
        mAP, rank_1: the model's, the exported model's, their difference with its 95 % interval, and the p
            value of the paired randomisation test; fractions.
        images_per_second: the model's in torch, and the exported model's, in the same run.
        megabytes: of the exported file.
        threads, machine, date: what it was measured on, and when.
    """

    compared: int
    largest_difference: float
    smallest_cosine: float
    data: str
    queries: int
    mAP: dict[str, float] | None
    rank_1: dict[str, float] | None
    images_per_second: tuple[float, float]
    megabytes: float
    threads: int
    machine: str
    date: str

    def to_dict(self) -> dict[str, Any]:
        """The content of export.json."""
        return asdict(self)


def prove(
    model: Embedder,
    exported: Embedder,
    file: Path,
    data: DataSet | None,
    batch_size: int,
    tracklets: bool = False,
) -> Proof:
    """Compare an exported model with the one it was made of, on the CPU.

    Args:
        model: in torch, fed as the exported one is.
        exported: the exported model.
        file: of the exported model.
        data: to find people in; None compares features of random images alone.
        batch_size: images or clips at a time.
        tracklets: whether a tracklet of the data is one item.
    """
    speeds = images_per_second([model, exported], SPEED_BATCH, "cpu")
    retrieval: dict[str, Any] = {"data": "", "queries": 0, "mAP": None, "rank_1": None}
    if data is None:
        shape = (RANDOM_IMAGES, *model.preprocessing.size, 3)
        images = list(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
        features = model.embed(images, device="cpu"), exported.embed(images, device="cpu")
    else:
        scored = [score(one, data, batch_size, "cpu", tracklets) for one in (model, exported)]
        features = _readable(scored[0]), _readable(scored[1])
        retrieval = {"data": data.name, "queries": scored[0].result.num_valid_queries}
        retrieval |= compare_scores(scored[0], scored[1])
    return Proof(
        compared=len(features[0]),
        largest_difference=float(np.abs(features[0] - features[1]).max()),
        smallest_cosine=float(_cosines(*features).min()),
        images_per_second=(speeds[0], speeds[1]),
        megabytes=file_megabytes(file),
        threads=torch.get_num_threads(),
        machine=describe_machine(),
        date=date.today().isoformat(),
        **retrieval,
    )


def compare_scores(first: Scored, second: Scored) -> dict[str, dict[str, float]]:
    """mAP and Rank-1 of two models on the same queries, with a paired test.

    Args:
        first: the one compared with.
        second: the other.

    Returns:
        Of "mAP" and "rank_1": first, second, difference, low and high (its 95 % interval), and p.
    """
    rows = compare_results(first.result, second.result, paired=True)
    return {
        row.metric: {
            "first": row.first.value,
            "second": row.second.value,
            "difference": row.difference.value,
            "low": row.difference.low,
            "high": row.difference.high,
            "p": row.p,
        }
        for row in rows
        if row.metric in ("mAP", "rank_1")
    }


def describe(proof: Proof, what: str) -> str:
    """A proof as Markdown, for a model card.

    Args:
        proof: as `prove` gives it.
        what: what was exported, and how, in one line.
    """
    torch_speed, speed = proof.images_per_second
    rows: list[tuple[str, ...]] = [("", "torch", "exported", "difference (95 %)", "p")]
    for name, values in (("mAP, %", proof.mAP), ("Rank-1, %", proof.rank_1)):
        if values is not None:
            low, high = (f"{100 * values[end]:+.2f}" for end in ("low", "high"))
            change = f"{100 * values['difference']:+.2f} ({low} to {high})"
            ends = (f"{100 * values[side]:.2f}" for side in ("first", "second"))
            rows.append((name, *ends, change, f"{values['p']:.3f}"))
    rows.append(("images/s", f"{torch_speed:.1f}", f"{speed:.1f}", f"x {speed / torch_speed:.2f}", ""))
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "| --- " * len(rows[0]) + "|")
    source = f"{proof.queries} queries of {proof.data}" if proof.data else "random images; mAP not measured"
    where = f"{proof.machine}, {proof.threads} threads, {proof.date}"
    return "\n".join(
        [
            f"{what}: {proof.megabytes:.1f} MB. Largest difference of a number of a feature "
            f"{proof.largest_difference:.1e}, smallest cosine {proof.smallest_cosine:.5f}, over "
            f"{proof.compared} features ({source}).",
            "",
            *lines,
            "",
            f"Paired randomisation test over queries; images/s at batches of {SPEED_BATCH} in one run, "
            f"without decoding. On {where}.",
        ]
    )


def file_megabytes(file: Path) -> float:
    """Size of a model's file, an OpenVINO .xml together with its .bin.

    Args:
        file: of the model.
    """
    files = [file, file.with_suffix(".bin")] if file.suffix == ".xml" else [file]
    return sum(one.stat().st_size for one in files) / 1e6


def describe_machine() -> str:
    """The processor and its cores."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{next(names, platform.processor() or platform.machine())}, {os.cpu_count()} cores"


def _readable(scored: Scored) -> np.ndarray:
    return np.concatenate([side.array[side.valid] for side in (scored.query, scored.gallery)])


def _cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first * second).sum(axis=1) / lengths
