"""`reid-gallery calibrate`: what a model's scores mean."""

from __future__ import annotations

from typing import Literal

FAR = (0.01, 0.001)
"""False accept rates that thresholds are found for."""
FPIR = (0.1, 0.01)
"""False positive identification rates that "nobody here" is found for."""


def calibrate(
    features: str,
    *,
    out: str | None = None,
    method: Literal["logistic", "isotonic"] = "logistic",
    far: list[float] | None = None,
    fpir: list[float] | None = None,
    seed: int = 0,
) -> int:
    """Find what scores mean on labeled rows: the probability of the same person, and thresholds.

    Pairs are of two cameras. Thresholds have 95 % intervals by a bootstrap over people. Use people whom the
    model was not trained on.

    Args:
        features: folder that `reid-gallery embed` wrote
        out: JSON file; calibration.json in the model's folder by default, where `search` looks for it
        method: logistic (two parameters) or isotonic (any rising curve, for many people)
        far: false accept rates of pairs, between 0 and 1; 0.01 and 0.001 by default
        fpir: false positive rates, between 0 and 1, of searches for people who aren't there; 0.1 and 0.01 by
            default
        seed: number that seeds the bootstrap and the draws of pairs
    """
    from reid_gallery.calibrating import calibrate_folder, describe

    calibration, path = calibrate_folder(features, out, method, far or FAR, fpir or FPIR, seed)
    print("\n".join([*describe(calibration), f"{path}: written"]))
    return 0
