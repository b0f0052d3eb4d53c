"""Denoising of real people before two cameras, features as extracted and centered by camera, by pairwise F1.

The worlds are those of denoise_real.py: a person's images before a camera are a tracklet, one image in ten is
swapped with another of its video. Criteria are calibrated on the set without labels, or by the labels of
other people (CUHK01's first 485); nothing is chosen on the people that are scored. The goals are for average
linkage of centered features by criteria without labels, and nothing known of tracklets.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from _real_people import SEEDS, World, read_worlds
from _record import write_record
from denoise_real import TARGETS, calibrated, scored

from reid_denoise import center_by_camera, score

LINKING = "average"
KNOWN = {"nothing": None, "one video at one time": "video"}
CENTERED, WITHOUT = "centered by camera", "without labels"


def center(world: World) -> World:
    """The same with features centered by camera."""
    features = center_by_camera(world.features, world.tracklet, world.camera, valid=None)
    return world._replace(features=features)


def row(names: dict[str, str], results: list[dict[str, float]]) -> dict[str, Any]:
    """Means over the seeds, and the spread of F1."""
    f1 = [result["f1"] for result in results]
    means = {name: round(float(np.mean([one[name] for one in results])), 4) for name in results[0]}
    return {**names, **means, "f1_least": round(min(f1), 4), "f1_most": round(max(f1), 4)}


def compare(worlds: list[World], others: World) -> list[dict[str, Any]]:
    """Every kind of features by ways of choosing criteria and what is known."""
    raw = [{**score(world.tracklet, world.people)._asdict(), "discarded": 0.0} for world in worlds]
    found = [row({"features": "", "criteria": "tracklets as they come", "known": "nothing"}, raw)]
    for kind in ("as extracted", CENTERED):
        tried, labelled = worlds, others
        if kind == CENTERED:
            tried, labelled = [center(world) for world in worlds], center(others)
        for known, column in KNOWN.items():
            chosen = calibrated(labelled, True, column, LINKING).criteria
            own = [calibrated(world, False, column, LINKING).criteria for world in tried]
            for way, criteria in ((WITHOUT, own), ("labels of other people", [chosen] * len(tried))):
                results = [
                    scored(world, one, LINKING, column) for world, one in zip(tried, criteria, strict=True)
                ]
                found.append(row({"features": kind, "criteria": way, "known": known}, results))
    return found


def main() -> None:
    """Print and write the record."""
    output, worlds, others = read_worlds(__doc__, "denoise_cameras")
    found = {name: compare(tried, others) for name, tried in worlds.items()}
    claim_row = {"features": CENTERED, "criteria": WITHOUT, "known": "nothing"}
    met = {
        name: next(one["f1"] for one in table if one.items() >= claim_row.items()) >= TARGETS[name]
        for name, table in found.items()
    }
    claim = (
        "identities across two cameras from real tracklets with switched images: features centered by camera"
    )
    write_record(
        output,
        claim,
        linking=LINKING,
        seeds=list(SEEDS),
        targets=TARGETS,
        of_row=claim_row,
        measured=found,
        met=met,
    )
    for name, table in found.items():
        print(name)
        for one in table:
            values = " ".join(
                f"{one[key]:.3f}" for key in ("f1", "f1_least", "f1_most", "precision", "recall")
            )
            print(f"  {one['features']:<20}{one['criteria']:<24}{one['known']:<24}{values}")
    print(json.dumps(met))


if __name__ == "__main__":
    main()
