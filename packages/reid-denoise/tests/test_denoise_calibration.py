"""Criteria chosen for features: what they separate, what they expect, and what they are better than."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from reid_denoise import LINKINGS, Criteria, calibrate_criteria, denoise, score
from reid_denoise.window import most_frequent

pytestmark = pytest.mark.filterwarnings("ignore::reid_denoise.plausibility.ImplausibleIdentities")
PEOPLE, VIEWS, LENGTH = 60, 3, 8


def world(noise: float = 0.7, view: float = 0.4, seed: int = 0, people: int = PEOPLE) -> dict[str, Any]:
    """People seen in three videos each, one image in ten swapped with another of its video."""
    rng = np.random.default_rng(seed)
    tracklets = np.repeat(np.arange(people * VIEWS), LENGTH)
    owner = np.concatenate([rng.permutation(people) for _ in range(VIEWS)])
    who, videos = owner[tracklets], tracklets // 12
    swapped = np.flatnonzero(rng.random(len(who)) < 0.1)
    partner = swapped[np.lexsort((rng.random(len(swapped)), videos[swapped]))]
    who[swapped] = who[partner]
    person = rng.normal(size=(people, 48))[who]
    views = rng.normal(size=(videos.max() + 1, people, 48))[videos, who]
    features = person + view * views + noise * rng.normal(size=person.shape)
    return {"features": features, "tracklets": tracklets, "videos": videos, "people": who}


def given(case: dict[str, Any]) -> dict[str, Any]:
    return {**{name: case[name] for name in ("features", "tracklets", "videos")}, "valid": None}


def simultaneous_pairs(case: dict[str, Any]) -> np.ndarray:
    videos = case["videos"][::LENGTH]
    return np.array([(a, b) for a, b in combinations(range(len(videos)), 2) if videos[a] == videos[b]])


def f1(case: dict[str, Any], criteria: Criteria, **options: Any) -> float:
    return score(denoise(**given(case), criteria=criteria, **options).identity, case["people"]).f1


@pytest.mark.parametrize("linking", LINKINGS)
@pytest.mark.parametrize("source", ["tracklets", "cannot_link", "labels"])
def test_criteria_for_the_features_are_better_than_the_papers(source: str, linking: str) -> None:
    case, other = world(), world(seed=1)
    held = {"cannot_link": simultaneous_pairs(case)} if source == "cannot_link" else {}
    if source == "labels":  # of other people
        criteria, report = calibrate_criteria(**given(other), pids=other["people"], linking=linking)
    else:
        criteria, report = calibrate_criteria(**given(case), linking=linking, **held)
    assert (report.source, report.linking) == (source, linking)
    raw = score(case["tracklets"], case["people"]).f1
    assert f1(case, Criteria()) < raw + 0.1 < f1(case, criteria, linking=linking, **held)
    assert f1(case, criteria, linking=linking, **held) > 0.9


def test_the_report_expects_what_happens() -> None:
    case = world(noise=0.8, view=0.6)
    for pids in (None, case["people"]):
        criteria, report = calibrate_criteria(**given(case), pids=pids)
        owner = most_frequent(case["tracklets"], case["people"], PEOPLE * VIEWS)[case["tracklets"]]
        wrong = owner != case["people"]
        assert report.wrong == pytest.approx(wrong.mean(), abs=0.03)
        kept = denoise(**given(case), criteria=criteria, level="tracklet").identity >= 0
        assert report.discarded == pytest.approx(np.mean(~kept), abs=0.05)
        assert report.wrong_kept == pytest.approx(np.mean(wrong[kept]), abs=0.02)
        assert (report.images, report.tracklets) == (PEOPLE * VIEWS * LENGTH, PEOPLE * VIEWS)
        assert report.own[3] < report.other[3] and list(report.own) == sorted(report.own)


def test_expected_false_merges_are_near_the_true_ones() -> None:
    expected, true = 0.0, 0
    for seed in range(3):
        case = world(noise=1.2, view=0.9, seed=seed)
        criteria, report = calibrate_criteria(**given(case), linking="average")
        kept = denoise(**given(case), criteria=criteria, level="tracklet").identity
        centres = np.stack(
            [case["features"][(case["tracklets"] == t) & (kept >= 0)].mean(0) for t in range(180)]
        )
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        owner = most_frequent(case["tracklets"], case["people"], 180)
        one, other = np.triu_indices(180, 1)
        near = 1 - np.einsum("nd,nd->n", centres[one], centres[other]) <= criteria.discrimination
        assert report.links == pytest.approx(np.count_nonzero(near & (near > 0)), rel=0.1)
        expected += report.false_merges
        true += np.count_nonzero(near & (owner[one] != owner[other]))
    assert true / 3 < expected < 3 * max(true, 1)


def test_the_same_seed_gives_the_same_criteria_and_a_window_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("reid_denoise.window.WINDOW", 90)
    case = world()
    first, again, other = (calibrate_criteria(**given(case), seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert first.report.tracklets == 90 and first.report.images == 90 * LENGTH


def test_labels_choose_the_threshold_of_the_best_f1() -> None:
    case = world(noise=1.0, view=0.8)
    criteria, _ = calibrate_criteria(**given(case), pids=case["people"], linking="average")
    found = f1(case, criteria, linking="average")
    for factor in (0.6, 0.8, 1.2, 1.5):
        changed = Criteria(criteria.consistency, min(2, factor * criteria.discrimination))
        assert f1(case, changed, linking="average") < found + 0.01


@pytest.mark.faults
def test_rows_without_a_feature_and_unknown_people_have_no_influence() -> None:
    case = world()
    rng = np.random.default_rng(0)
    valid, pids = rng.random(len(case["people"])) > 0.1, case["people"].copy()
    case["features"][~valid] = np.nan
    pids[~valid] = -1
    for labels in (None, pids):
        masked = calibrate_criteria(**given(case) | {"valid": valid}, pids=labels)
        few = {name: values[valid] for name, values in case.items()}
        assert masked == calibrate_criteria(**given(few), pids=None if labels is None else few["people"])


def test_another_metric_has_criteria_of_its_own_size() -> None:
    case = world()
    case["features"] *= 10
    criteria, _ = calibrate_criteria(**given(case), metric="euclidean")
    assert criteria.metric == "euclidean" and criteria.discrimination > 2
    assert f1(case, criteria) > 0.9


@pytest.mark.parametrize(
    "options, message",
    [
        ({"linking": "single"}, "linking='single'"),
        ({"pids": np.arange(1440)}, "no person has two tracklets|expected 50 or more"),
        ({"pids": np.zeros(3, int)}, "pids has shape"),
        ({"tracklets": np.arange(1440)}, "distances within or between tracklets of two images or more"),
        ({"half_range": 0}, "0 pairs of tracklets in range"),
    ],
)
def test_what_cannot_be_chosen_from_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        calibrate_criteria(**given(world()) | options)
