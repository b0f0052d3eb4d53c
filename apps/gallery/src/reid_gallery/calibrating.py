"""A feature folder to a model's calibration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from reid_core.models import Features
from reid_eval import fnir_at_fpir
from reid_gallery.calibration import (
    LEAST_GENUINE,
    LEAST_IMPOSTORS,
    Calibration,
    Method,
    NobodyHere,
    Threshold,
    find_thresholds,
    fit_curve,
)
from reid_gallery.features import Made, open_features
from reid_gallery.model import calibration_file
from reid_gallery.pairs import all_pairs, labeled_rows, open_set_searches


def calibrate_features(
    features: Features, made: Made, method: Method, far: Sequence[float], fpir: Sequence[float], seed: int = 0
) -> Calibration:
    """Calibrate on labeled rows.

    Args:
        features: of people whom the model was not trained on.
        made: how they were made.
        method: of the curve.
        far: false accept rates of pairs.
        fpir: false positive identification rates of searches.
        seed: of the bootstrap and of who is drawn.

    Raises:
        ValueError: a rate outside 0 to 1, or no pairs of one kind.
    """
    if not all(0 < rate < 1 for rate in (*far, *fpir)):
        raise ValueError(f"far={list(far)}, fpir={list(fpir)}: expected rates between 0 and 1")
    rows = labeled_rows(features, seed)
    pairs = all_pairs(rows, made.metric)
    same = pairs.same
    if not same.any() or same.all():
        raise ValueError(
            f"{same.sum()} pairs of one person and {(~same).sum()} of two, across cameras, in {rows.rows!r}; "
            "expected some of each: give people seen by two cameras"
        )
    scores, log_odds = fit_curve(pairs.scores[same], pairs.scores[~same], method)
    cameras: dict[str, tuple[Threshold, ...]] = {}
    for low, high in combinations(sorted(set(rows.rows.camids[rows.rows.camids >= 0].tolist())), 2):
        some = pairs.between(low, high)
        if some.same.sum() >= LEAST_GENUINE and (found := find_thresholds(some, far, seed)):
            cameras[f"{low}-{high}"] = found
    return Calibration(
        digest=made.digest,
        metric=made.metric,
        method=method,
        scores=scores,
        log_odds=log_odds,
        thresholds=find_thresholds(pairs, far, seed),
        cameras=cameras,
        nobody=_find_nobody(rows, made.metric, fpir, seed),
        people=pairs.people,
        genuine=int(same.sum()),
        impostor=int((~same).sum()),
    )


def _find_nobody(rows: Features, metric: str, fpir: Sequence[float], seed: int) -> tuple[NobodyHere, ...]:
    right, wrong, others, gallery = open_set_searches(rows, metric, seed)
    if not len(right) or not len(others):
        return ()
    found = []
    for rate in fpir:
        if rate * len(others) >= LEAST_IMPOSTORS:
            one = fnir_at_fpir(right, wrong, others, rate)
            found.append(NobodyHere(float(rate), one.threshold, one.fnir, gallery))
    return tuple(found)


def calibrate_folder(
    folder: str, out: str | None, method: Method, far: Sequence[float], fpir: Sequence[float], seed: int
) -> tuple[Calibration, Path]:
    """Calibrate on a feature folder, and save.

    Args:
        folder: as `embed` writes it.
        out: the file; None for the model's folder.
        method, far, fpir, seed: as of `calibrate_features`.

    Returns:
        The calibration, and its file.

    Raises:
        ValueError: the model is no folder or file here, and no file is given.
    """
    features, made = open_features(folder)
    if out is None and not Path(made.model).exists():
        raise ValueError(f"the model {made.model} has no folder here: say where to write with --out FILE")
    path = Path(out) if out else calibration_file(made.model)
    calibration = calibrate_features(features, made, method, far, fpir, seed)
    calibration.save(path)
    return calibration, path


def describe(calibration: Calibration) -> Iterator[str]:
    """What was found, line by line.

    Args:
        calibration: as it was fitted.
    """
    c = calibration
    yield f"{c.people} people, {c.genuine} pairs of one person and {c.impostor} of two, across cameras"
    groups = {
        "any two cameras": c.thresholds,
        **{f"cameras {pair}": some for pair, some in c.cameras.items()},
    }
    for name, thresholds in groups.items():
        for one in thresholds:
            bounds = f"95 % interval {one.low:.3f} to {one.high:.3f}"
            yield f"{name}: FAR {one.far:.2%} at {one.threshold:.3f} ({bounds}), TAR {one.tar:.1%}"
    for rate in c.nobody:
        yield (
            f"nobody here below {rate.threshold:.3f}: FPIR {rate.fpir:.1%}, FNIR {rate.fnir:.1%}, "
            f"in a gallery of {rate.gallery} rows"
        )
    half = float(np.interp(0.0, c.log_odds, c.scores))
    yield f"at {half:.3f} a pair is as likely of one person as of two, where half of the pairs are"
