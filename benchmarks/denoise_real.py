"""Denoising of real people's features: calibrated criteria, linking, and constraints, by pairwise F1.

The images of a person before a camera are a tracklet, twelve people of a camera a video; one image in ten is
swapped with another of its video. Features are those of Open Model Zoo's person-reidentification-retail-0277.
Criteria are the paper's, or calibrated: on the same set without labels, or by labels of other people
(CUHK01's first 485). Nothing is chosen on the people that are scored, but for the row that says so.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _record import RESULTS, write_record

from reid_denoise import LINKINGS, Calibration, Criteria, calibrate_criteria, denoise, score

TARGETS = {"pku_reid": 0.82, "cuhk01": 0.70}
MODEL = "person-reidentification-retail-0277.xml"
ROOTS = {"pku_reid": "REID_PKU_ROOT", "cuhk01": "REID_CUHK01_ROOT", "weights": "REID_WEIGHTS_ROOT"}
PEOPLE_A_VIDEO, SWITCHED, SEEDS = 12, 0.1, range(5)
KNOWN = {"nothing": None, "one video at one time": "video", "one tracklet a person and camera": "camera"}
"""What is known of tracklets that are never one person, and the column in which two such are equal."""
GRID = {"consistency": (0.3, 0.4, 0.5, 0.6, 0.7), "discrimination": (0.2, 0.25, 0.3, 0.32, 0.34, 0.36, 0.4)}


class World(NamedTuple):
    """Features [n d], people, tracklets, videos and cameras [n] of a set with switched images."""

    features: np.ndarray
    people: np.ndarray
    tracklet: np.ndarray
    video: np.ndarray
    camera: np.ndarray


def images(name: str, root: Path) -> tuple[list[Path], np.ndarray, np.ndarray]:
    """Files of a data set, who is on them, and before which camera."""
    if name == "pku_reid":
        files = sorted((root / "PKUv1a_128x48").glob("*.png"))
        numbers = np.array([file.stem.split("_")[:2] for file in files], dtype=int)
        return files, numbers[:, 0], numbers[:, 1]
    files = sorted((root / "campus").glob("*.png"))
    numbers = np.array([(file.stem[:4], file.stem[4:]) for file in files], dtype=int)
    return files, numbers[:, 0], (numbers[:, 1] - 1) // 2


def extract(name: str, roots: dict[str, Path], cache: Path) -> np.ndarray:
    """Features of a data set's images, float32 [n 256], kept in a folder."""
    file = cache / f"{name}.npy"
    if not file.exists():
        from reid_core.models import load

        model = load(roots["weights"] / MODEL, mean=(0, 0, 0), std=(1, 1, 1), max_value=255, channels="BGR")
        cache.mkdir(parents=True, exist_ok=True)
        np.save(file, model.embed(images(name, roots[name])[0]))
    return np.load(file)


def corrupt(features: np.ndarray, people: np.ndarray, camera: np.ndarray, seed: int) -> World:
    """Images by camera and person, one in ten swapped with another of its video."""
    order = np.lexsort((people, camera))
    features, people, camera = features[order], people[order], camera[order]
    tracklet = np.unique(np.stack([camera, people]), axis=1, return_inverse=True)[1].reshape(-1)
    video = camera * 1000 + np.unique(people, return_inverse=True)[1] // PEOPLE_A_VIDEO
    rng = np.random.default_rng(seed)
    swapped = np.flatnonzero(rng.random(len(people)) < SWITCHED)
    partner = swapped[np.lexsort((rng.random(len(swapped)), video[swapped]))]
    features[swapped], people[swapped] = features[partner], people[partner]
    return World(features, people, tracklet, video, camera)


def never_one(world: World, column: str | None) -> np.ndarray | None:
    """Pairs of tracklets that are equal in a column."""
    if column is None:
        return None
    first = np.unique(world.tracklet, return_index=True)[1]
    values = getattr(world, column)[first]
    return np.argwhere(np.triu(values[:, None] == values, 1))


def calibrated(world: World, labels: bool, column: str | None, linking: str) -> Calibration:
    return calibrate_criteria(
        *(world.features, world.tracklet, world.video),
        valid=None,
        pids=world.people if labels else None,
        cannot_link=never_one(world, column),
        linking=linking,
    )


def scored(world: World, criteria: Criteria, linking: str, column: str | None) -> dict[str, float]:
    """F1, precision, recall and the part discarded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the paper's criteria discard most images: the table shows it
        found = denoise(
            *(world.features, world.tracklet, world.video, criteria),
            valid=None,
            linking=linking,
            cannot_link=never_one(world, column),
        )
    values = score(found.identity, world.people)._asdict()
    return {**values, "discarded": float(np.mean(found.identity < 0))}


def rows(worlds: list[World], others: World) -> Iterator[dict[str, Any]]:
    """Every way of choosing criteria, by linking and by what is known."""

    def row(way: str, linking: str, known: str, results: list[dict[str, float]]) -> dict[str, Any]:
        f1 = [result["f1"] for result in results]
        means = {name: round(float(np.mean([one[name] for one in results])), 4) for name in results[0]}
        spread = {"f1_least": round(min(f1), 4), "f1_most": round(max(f1), 4)}
        return {"criteria": way, "linking": linking, "known": known, **means, **spread}

    raw = [{**score(world.tracklet, world.people)._asdict(), "discarded": 0.0} for world in worlds]
    yield row("tracklets as they come", "", "nothing", raw)
    paper = [scored(world, Criteria(), "closure", None) for world in worlds]
    yield row("the paper's", "closure", "nothing", paper)
    best = [
        max(
            (
                scored(world, Criteria(cst, drm), "closure", None)
                for cst in GRID["consistency"]
                for drm in GRID["discrimination"]
            ),
            key=lambda result: result["f1"],
        )
        for world in worlds
    ]
    yield row("chosen on the truth", "closure", "nothing", best)
    for known, column in KNOWN.items():
        for linking in LINKINGS:
            labelled = calibrated(others, True, column, linking).criteria
            own = [calibrated(world, False, column, linking).criteria for world in worlds]
            for way, chosen in (
                ("without labels", own),
                ("labels of other people", [labelled] * len(worlds)),
            ):
                results = [scored(*pair, linking, column) for pair in zip(worlds, chosen, strict=True)]
                yield row(way, linking, known, results)


def main() -> None:
    """Print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--features", type=Path, default=Path("runs/denoise_real"), help="where features are kept"
    )
    parser.add_argument("--output", type=Path, default=RESULTS / "denoise_real.json")
    arguments = parser.parse_args()
    roots = {name: Path(os.environ.get(variable, "")) for name, variable in ROOTS.items()}
    missing = [variable for variable in ROOTS.values() if not os.environ.get(variable)]
    if missing:
        raise SystemExit(f"skipped: {', '.join(missing)} name no folder")
    sets = {}
    for name in ("pku_reid", "cuhk01"):
        sets[name] = (extract(name, roots, arguments.features), *images(name, roots[name])[1:])
    cuhk01 = sets["cuhk01"]
    known, tested = (
        tuple(column[chosen] for column in cuhk01) for chosen in (cuhk01[1] <= 485, cuhk01[1] > 485)
    )
    others = corrupt(*known, seed=0)
    found = {
        name: list(rows([corrupt(*case, seed=seed) for seed in SEEDS], others))
        for name, case in (("pku_reid", sets["pku_reid"]), ("cuhk01", tested))
    }
    met = {
        name: {
            known: max(row["f1"] for row in table if row["known"] == known and "label" in row["criteria"])
            >= target
            for known in KNOWN
        }
        for (name, table), target in zip(found.items(), TARGETS.values(), strict=True)
    }
    claim = "identities from real tracklets with switched images: F1 by criteria, linking and constraints"
    settings = {"switched": SWITCHED, "people_a_video": PEOPLE_A_VIDEO, "seeds": list(SEEDS), "model": MODEL}
    write_record(arguments.output, claim, settings=settings, targets=TARGETS, measured=found, met=met)
    for name, table in found.items():
        print(name)
        for row in table:
            values = " ".join(
                f"{row[key]:.3f}" for key in ("f1", "f1_least", "f1_most", "precision", "recall")
            )
            print(f"  {row['criteria']:<24}{row['linking']:<9}{row['known']:<34}{values}")
    print(json.dumps(met, indent=2))


if __name__ == "__main__":
    main()
