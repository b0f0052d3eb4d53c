"""Linking beside the paper's closure, and constraints, against what they say written down directly."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from reid_denoise import LINKINGS, Criteria, denoise, score, simultaneous
from reid_denoise.constraints import Constraints, check_constraints
from reid_denoise.linking import NEIGHBOURS, candidates, group

pytestmark = pytest.mark.filterwarnings("ignore::reid_denoise.plausibility.ImplausibleIdentities")
SETTINGS = settings(max_examples=30)


@st.composite
def points(draw: Any) -> dict[str, Any]:
    """Up to 24 unit-length centroids of a few people in some videos, and a threshold."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, people = draw(st.integers(2, 24)), draw(st.integers(1, 8))
    rows = rng.normal(size=(people, 6))[rng.integers(0, people, count)] + 0.4 * rng.normal(size=(count, 6))
    return {
        "centres": (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32),
        "videos": np.sort(rng.integers(0, 4, count)),
        "threshold": draw(st.floats(0.02, 0.9)),
        "cannot": np.unique(np.sort(rng.integers(0, count, (draw(st.integers(0, 20)), 2)), axis=1), axis=0),
        "must": rng.integers(0, count, (draw(st.integers(0, 3)), 2)),
    }


def grouped(world: dict[str, Any], linking: str, constraints: Constraints | None = None) -> list[int]:
    centres = world["centres"]
    criteria = Criteria(discrimination=world["threshold"])
    found = candidates(centres, len(centres), len(centres), criteria)
    held = constraints or Constraints()
    return group(found, centres.copy(), world["videos"], linking, criteria, held).tolist()


def first_of_group(label: Any) -> list[int]:
    label = list(label)
    return [label.index(one) for one in label]


def upgma(distance: np.ndarray, threshold: float, never: set[tuple[int, int]]) -> list[int]:
    """The two nearest groups by the mean of their pairs, one after the other, but for those that may not."""
    groups = [[row] for row in range(len(distance))]
    while True:
        means = [
            (distance[np.ix_(one, other)].mean(), i, j)
            for (i, one), (j, other) in combinations(enumerate(groups), 2)
            if not any(tuple(sorted((a, b))) in never for a in one for b in other)
        ]
        if not means or min(means)[0] > threshold:
            break
        _, i, j = min(means)
        groups[i] += groups.pop(j)
    label = np.zeros(len(distance), dtype=int)
    for members in groups:
        label[members] = min(members)
    return label.tolist()


@SETTINGS
@given(world=points())
def test_average_is_scipys_average_linkage_cut_at_sigma_drm(world: dict[str, Any]) -> None:
    distance = 1 - world["centres"].astype(float) @ world["centres"].astype(float).T
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average")
    expected = fcluster(tree, world["threshold"], "distance")
    assert grouped(world, "average") == first_of_group(expected.tolist())


@SETTINGS
@given(world=points())
def test_average_passes_over_what_cannot_be_one(world: dict[str, Any]) -> None:
    cannot = world["cannot"][world["cannot"][:, 0] != world["cannot"][:, 1]]
    distance = 1 - world["centres"].astype(float) @ world["centres"].astype(float).T
    expected = upgma(distance, world["threshold"], {tuple(pair) for pair in cannot.tolist()})
    assert grouped(world, "average", Constraints(cannot=cannot)) == expected


@SETTINGS
@given(world=points())
def test_mutual_chains_what_is_each_others_nearest_in_its_video(world: dict[str, Any]) -> None:
    centres, videos = world["centres"], world["videos"]
    distance = 1 - centres @ centres.T
    np.fill_diagonal(distance, np.inf)
    label = list(range(len(centres)))
    for one, other in combinations(range(len(centres)), 2):
        near_one = distance[other, np.flatnonzero(videos == videos[one])].min()
        near_other = distance[one, np.flatnonzero(videos == videos[other])].min()
        if distance[one, other] <= min(near_one, near_other, world["threshold"]):
            old, new = max(label[one], label[other]), min(label[one], label[other])
            label = [new if name == old else name for name in label]
    assert grouped(world, "mutual") == label


@pytest.mark.parametrize("linking", LINKINGS)
@SETTINGS
@given(world=points())
def test_constraints_are_kept_whatever_the_linking(linking: str, world: dict[str, Any]) -> None:
    names = np.arange(len(world["centres"]))
    try:
        constraints = check_constraints(world["cannot"], world["must"], names, names)
    except ValueError as error:
        assert "must_link joins them" in str(error)
        return
    label = np.array(grouped(world, linking, constraints))
    assert (label[world["must"][:, 0]] == label[world["must"][:, 1]]).all()
    assert (label[world["cannot"][:, 0]] != label[world["cannot"][:, 1]]).all()


@SETTINGS
@given(world=points())
def test_without_a_clash_a_constraint_changes_nothing(world: dict[str, Any]) -> None:
    for linking in LINKINGS:
        alone = grouped(world, linking)
        apart = [(a, b) for a, b in combinations(range(len(alone)), 2) if alone[a] != alone[b]]
        constraints = Constraints(cannot=np.array(apart, dtype=np.int64).reshape(-1, 2))
        assert grouped(world, linking, constraints) == alone


def test_a_centroid_has_few_candidates_the_nearest_ones() -> None:
    rng = np.random.default_rng(0)
    rows = (1 + 0.01 * rng.normal(size=(700, 8))).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = candidates(rows, 700, 700, Criteria(discrimination=0.5))
    counts = np.bincount(found.pairs[:, 0], minlength=700)
    assert counts.max() == NEIGHBOURS and len(found.pairs) <= 700 * NEIGHBOURS
    nearest = 1 + np.argsort(1 - rows[1:] @ rows[0], kind="stable")[:NEIGHBOURS]
    assert sorted(found.pairs[found.pairs[:, 0] == 0, 1]) == sorted(nearest)


def world(seed: int = 0, **more: Any) -> dict[str, Any]:
    """Twelve people in 72 tracklets of six images, one image in ten of somebody else, in twelve videos."""
    rng = np.random.default_rng(seed)
    tracklets = np.repeat(np.arange(72), 6)
    who = np.where(rng.random(432) < 0.1, rng.integers(0, 12, 432), tracklets % 12)
    features = rng.normal(size=(12, 12))[who] + 0.9 * rng.normal(size=(432, 12))
    return {"features": features, "tracklets": tracklets, "videos": tracklets // 6, "valid": None, **more}


def truth() -> np.ndarray:
    return np.repeat(np.arange(72) % 12, 6)


def simultaneous_pairs() -> np.ndarray:
    return np.array(
        [pair for video in range(12) for pair in combinations(range(6 * video, 6 * video + 6), 2)]
    )


LOOSE = Criteria(consistency=1.0, discrimination=0.4)


def test_what_is_never_one_person_makes_identities_better_by_every_linking() -> None:
    for linking in LINKINGS:
        without = denoise(**world(), criteria=LOOSE, linking=linking)
        held = denoise(**world(), criteria=LOOSE, linking=linking, cannot_link=simultaneous_pairs())
        assert score(held.identity, truth()).f1 > score(without.identity, truth()).f1


def test_linking_by_average_is_better_than_the_closure_where_people_look_alike() -> None:
    f1 = {
        linking: score(denoise(**world(), criteria=LOOSE, linking=linking).identity, truth()).f1
        for linking in LINKINGS
    }
    assert f1["average"] > f1["closure"]


@pytest.mark.parametrize("linking", LINKINGS)
def test_denoising_keeps_constraints_of_tracklet_ids_within_and_across_videos(linking: str) -> None:
    names = np.random.default_rng(1).permutation(1000)[:72]
    case = world(tracklets=names[world()["tracklets"]])
    must = names[[[0, 12], [3, 70], [6, 7]]]
    cannot = names[[[0, 24], [1, 2], [3, 4]]]
    found = denoise(**case, criteria=LOOSE, linking=linking, cannot_link=cannot, must_link=must)
    own = found.levels["tracklet"] >= 0
    for level, joined in (("video", must[2:]), ("cross_video", must)):
        where = {name: found.levels[level][(case["tracklets"] == name) & own][0] for name in names}
        assert all(where[one] == where[other] for one, other in joined)
        assert all(where[one] != where[other] for one, other in cannot)


def test_the_default_is_the_papers_closure_bit_for_bit() -> None:
    plain = denoise(**world())
    named = denoise(**world(), linking="closure", cannot_link=np.empty((0, 2), int))
    np.testing.assert_array_equal(plain.identity, named.identity)
    assert plain.report == named.report


@pytest.mark.parametrize("linking", LINKINGS)
def test_small_blocks_and_bands_link_the_same(linking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"criteria": Criteria(0.8, 0.4, half_range=20), "linking": linking}
    options["cannot_link"] = simultaneous_pairs()
    whole = denoise(**world(), **options)
    monkeypatch.setattr("reid_denoise.pipeline.BLOCK", 40)
    monkeypatch.setattr("reid_denoise.pipeline.BAND", 5)
    monkeypatch.setattr("reid_denoise.noise_metric.BAND", 5)
    cut = denoise(**world(), **options)
    np.testing.assert_array_equal(cut.identity, whole.identity)


def test_unfinished_work_of_another_linking_is_not_resumed(tmp_path: Any) -> None:
    for linking in LINKINGS:
        resumed = denoise(**world(), criteria=LOOSE, linking=linking, folder=tmp_path)
        alone = denoise(**world(), criteria=LOOSE, linking=linking)
        np.testing.assert_array_equal(resumed.identity, alone.identity)


def test_borderline_links_are_ones_that_were_made() -> None:
    found = denoise(**world(), criteria=LOOSE, linking="average", cannot_link=simultaneous_pairs())
    assert found.report.borderline
    for link in found.report.borderline:
        one, other = (found.identity[world()["tracklets"] == name] for name in link.tracklets)
        assert np.intersect1d(one[one >= 0], other[other >= 0]).size


@SETTINGS
@given(seed=st.integers(0, 2**32 - 1))
def test_simultaneous_tracklets_overlap_in_time_in_one_video(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tracklets = rng.integers(-1, 8, 40)
    videos, frames = tracklets // 4, rng.integers(-1, 30, 40)
    spans = {
        name: frames[(tracklets == name) & (frames >= 0)]
        for name in range(8)
        if ((tracklets == name) & (frames >= 0)).any()
    }
    expected = {
        (a, b)
        for a, b in combinations(spans, 2)
        if a // 4 == b // 4 and spans[a].min() <= spans[b].max() and spans[b].min() <= spans[a].max()
    }
    found = simultaneous(tracklets, videos, frames)
    assert {tuple(pair) for pair in found.tolist()} == expected and len(found) == len(expected)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"linking": "single"}, "linking='single': expected one of closure, mutual, average"),
        ({"linking": "average", "criteria": Criteria(metric="euclidean")}, "needs metric='cosine'"),
        ({"cannot_link": np.array([0, 1])}, r"cannot_link has shape \(2,\)"),
        ({"must_link": np.array([[0.0, 1.0]])}, "must_link must be integers"),
        ({"cannot_link": np.array([[0, 1], [0, 99]])}, "cannot_link, row 1: no image has tracklet 99"),
        (
            {"cannot_link": np.array([[0, 2]]), "must_link": np.array([[0, 1], [1, 2]])},
            "tracklets 0 and 2 differ; must_link joins them",
        ),
    ],
)
def test_bad_linking_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        denoise(**world(), **options)


def test_a_pair_of_a_tracklet_without_any_feature_is_of_no_consequence() -> None:
    valid = world()["tracklets"] != 1
    found = denoise(**world(valid=valid), cannot_link=np.array([[0, 1]]))
    np.testing.assert_array_equal(found.identity, denoise(**world(valid=valid)).identity)
