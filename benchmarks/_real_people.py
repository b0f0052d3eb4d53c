"""CUHK01's and PKU-Reid's people as features of tracklets with switched images.

The images of a person before a camera are a tracklet, twelve people of a camera a video; one image in ten is
swapped with another of its video. The folders are those of the environment variables ROOTS.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _record import RESULTS

MODEL = "person-reidentification-retail-0277.xml"
ROOTS = {"pku_reid": "REID_PKU_ROOT", "cuhk01": "REID_CUHK01_ROOT", "weights": "REID_WEIGHTS_ROOT"}
PEOPLE_A_VIDEO, SWITCHED, SEEDS = 12, 0.1, range(5)
KNOWN_PEOPLE = 485
"""CUHK01's first, by whose labels criteria may be chosen; the others are scored."""


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


def read_worlds(description: str | None, name: str) -> tuple[Path, dict[str, list[World]], World]:
    """Read the command line and the worlds that are scored, and that of other people.

    Args:
        description: of the benchmark.
        name: of its record.

    Returns:
        The record to write, data set -> its world with each seed, and the world of CUHK01's first people.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--features", type=Path, default=Path("runs/denoise_real"), help="where features are kept"
    )
    parser.add_argument("--output", type=Path, default=RESULTS / f"{name}.json")
    arguments = parser.parse_args()
    missing = [variable for variable in ROOTS.values() if not os.environ.get(variable)]
    if missing:
        raise SystemExit(f"skipped: {', '.join(missing)} name no folder")
    roots = {part: Path(os.environ[variable]) for part, variable in ROOTS.items()}
    sets = {
        part: (extract(part, roots, arguments.features), *images(part, roots[part])[1:])
        for part in ("pku_reid", "cuhk01")
    }
    known = sets["cuhk01"][1] <= KNOWN_PEOPLE
    others = corrupt(*(column[known] for column in sets["cuhk01"]), seed=0)
    sets["cuhk01"] = tuple(column[~known] for column in sets["cuhk01"])
    worlds = {part: [corrupt(*columns, seed=seed) for seed in SEEDS] for part, columns in sets.items()}
    return arguments.output, worlds, others
