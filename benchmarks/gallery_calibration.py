"""What a calibration keeps on other people: calibration error, achieved FAR, FPIR and FNIR, on CUHK01.

Features are those of Open Model Zoo's person-reidentification-retail-0277, made by `reid-gallery embed`. The
first 485 people calibrate; the others are scored. The curve's method is chosen by log loss on the calibrating
people alone: fitted on the odd ones, tried on the even ones, and the other way round.

The calibration error is told for all pairs as they occur (nearly all are of two people, which flatters it),
for pairs of which half are of one person, and for the ten first answers of each search.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
from _record import RESULTS, write_record

from reid_core.data import read
from reid_core.models import Features
from reid_eval import calibration_error
from reid_gallery.calibrating import calibrate_features
from reid_gallery.calibration import Calibration, Pairs
from reid_gallery.cli import main as gallery
from reid_gallery.features import Made, open_features
from reid_gallery.pairs import all_pairs, open_set_searches, scores_between

MODEL = "person-reidentification-retail-0277.xml"
FED = {"mean": "[0,0,0]", "std": "[1,1,1]", "max_value": "255", "channels": "BGR"}
CALIBRATING = 485
FAR, FPIR = (0.01, 0.001), (0.1, 0.05, 0.02)
TARGETS = {"calibration error": 0.05, "achieved FAR within a factor of": 2.0}
ANSWERS = 10
METHODS = ("isotonic", "logistic")


def read_features(file: Path, root: Path) -> tuple[Features, Made]:
    """Features of the same model that lie in the order of the images' names."""
    rows = read("cuhk01", root)
    rows = rows.take(np.argsort([path.name for path in rows.files]))
    array = np.load(file)
    made = Made(MODEL, "", {}, "cosine", array.shape[1], len(array), 0)
    return Features(array, rows, np.ones(len(array), dtype=bool)), made


def log_loss(calibration: Calibration, pairs: Pairs) -> float:
    """Mean of both kinds of pairs, each weighing the same."""
    chance = calibration.probability(pairs.scores)
    losses = [-np.log(chance[pairs.same]).mean(), -np.log(1 - chance[~pairs.same]).mean()]
    return float(np.mean(losses))


def choose_method(features: Features, made: Made) -> tuple[str, dict[str, float]]:
    """The method of the lower log loss on people it was not fitted on, all of them calibrating ones."""
    odd = features.rows.pids % 2 == 1
    halves = [features.take(np.flatnonzero(kept)) for kept in (odd, ~odd)]
    losses: dict[str, float] = {}
    for method in METHODS:
        found = [
            log_loss(calibrate_features(one, made, method, FAR[:1], FPIR[:1]), all_pairs(other, made.metric))
            for one, other in (halves, halves[::-1])
        ]
        losses[method] = round(float(np.mean(found)), 5)
    return min(losses, key=losses.__getitem__), losses


def shown_answers(features: Features, metric: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Scores of each search's first answers from the other camera, whether they are right, and the prior."""
    pids, camids = features.rows.pids, features.rows.camids
    scores = scores_between(np.asarray(features.array), np.asarray(features.array), metric)
    scores[camids[:, None] == camids[None]] = -np.inf
    first = np.argsort(-scores, axis=1)[:, :ANSWERS]
    same = pids[first] == pids[:, None]
    prior = 1 / len(np.unique(pids))
    return np.take_along_axis(scores, first, axis=1).ravel(), same.ravel(), prior


def score(calibration: Calibration, features: Features) -> dict[str, Any]:
    """What the calibration keeps on people it has not seen."""
    pairs = all_pairs(features, calibration.metric)
    same, impostor = pairs.same, pairs.scores[~pairs.same]
    weights = np.where(same, 1 / same.sum(), 1 / (~same).sum())
    scores, right, prior = shown_answers(features, calibration.metric)
    natural = calibration.probability(pairs.scores, float(same.mean()))
    found: dict[str, Any] = {
        "calibration error": {
            "half of the pairs of one person": calibration_error(
                calibration.probability(pairs.scores), same, weights
            ),
            "pairs as they occur": calibration_error(natural, same),
            "ten first answers": calibration_error(calibration.probability(scores, prior), right),
        },
        "thresholds": {},
        "open set": {},
    }
    for one in calibration.thresholds:
        achieved = float((impostor >= one.threshold).mean())
        found["thresholds"][f"FAR {one.far:g}"] = {
            "threshold": one.threshold,
            "interval": [one.low, one.high],
            "achieved FAR": achieved,
            "factor": max(achieved / one.far, one.far / achieved) if achieved else None,
            "TAR": float((pairs.scores[same] >= one.threshold).mean()),
        }
    mated, first, others, size = open_set_searches(features, calibration.metric)
    for nobody in calibration.nobody:
        found["open set"][f"FPIR {nobody.fpir:g}"] = {
            "threshold": nobody.threshold,
            "achieved FPIR": float((others >= nobody.threshold).mean()),
            "FNIR": float(((mated < nobody.threshold) | (mated < first)).mean()),
            "gallery": size,
            "calibrated with": nobody.gallery,
        }
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("REID_CUHK01_ROOT", "REID_WEIGHTS_ROOT"):
        parser.add_argument(f"--{name.split('_')[1].lower()}", type=Path, default=os.environ.get(name))
    parser.add_argument(
        "--features", type=Path, help="cuhk01.npy of benchmarks/denoise_real.py, in place of embedding"
    )
    parser.add_argument("--cache", type=Path, default=Path("runs/benchmarks/gallery_calibration"))
    parser.add_argument("--output", type=Path, default=RESULTS / "gallery_calibration.json")
    given = parser.parse_args()
    if not given.cuhk01 or not (given.weights or given.features):
        raise SystemExit("give --cuhk01 and --weights, or REID_CUHK01_ROOT and REID_WEIGHTS_ROOT")
    if given.features:
        features, made = read_features(given.features, given.cuhk01)
    else:
        command = ["embed", "cuhk01", "--root", str(given.cuhk01), "--model", str(given.weights / MODEL)]
        command += ["--out", str(given.cache)]
        for field, value in FED.items():
            command += [f"--preprocessing.{field}", value]
        if gallery(command):
            raise SystemExit("the images could not be embedded")
        features, made = open_features(given.cache)
    early = features.rows.pids <= CALIBRATING
    train, test = (features.take(np.flatnonzero(kept)) for kept in (early, ~early))
    method, losses = choose_method(train, made)
    found: dict[str, Any] = {"targets": TARGETS, "people": {"calibrating": CALIBRATING}}
    found["people"]["scored"] = len(np.unique(test.rows.pids))
    found["chosen_method"], found["log_loss_on_calibrating_people"] = method, losses
    for name in METHODS:
        found[name] = score(calibrate_features(train, made, name, FAR, FPIR), test)
    errors = found[method]["calibration error"].values()
    factors = [one["factor"] for one in found[method]["thresholds"].values()]
    found["met"] = {
        "calibration error": bool(max(errors) <= TARGETS["calibration error"]),
        "achieved FAR": all(factor is not None and factor <= 2 for factor in factors),
    }
    claim = "what a calibration of scores keeps on other people (CUHK01, retail-0277)"
    write_record(given.output, claim, **found)


if __name__ == "__main__":
    main()
