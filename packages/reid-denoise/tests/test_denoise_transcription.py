"""Denoising against Eqs. 1 to 7 written down as they stand in the paper, image by image and pair by pair."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial import distance as scipy_distance

from reid_denoise import LEVELS, Criteria, denoise, noise

pytestmark = pytest.mark.filterwarnings(
    "ignore::reid_denoise.plausibility.ImplausibleIdentities"
)  # random worlds

MARGIN = 2e-5
"""A comparison closer than this could be decided by rounding; such sets are left out."""
TIE = 1e-5


class Transcription:
    """CION, sections 3.1 and 3.2, in double precision; mu(0) is 1, as Eq. 4's >= and Eq. 5's < have it."""

    def __init__(
        self, features: np.ndarray, tracklets: list[int], videos: list[int], criteria: Criteria
    ) -> None:
        rows = features.astype(np.float64)
        if criteria.metric == "cosine":
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        self.x, self.tracklets, self.videos, self.criteria = rows, tracklets, videos, criteria
        self.margin = np.inf

    def dist(self, a: np.ndarray, b: np.ndarray) -> float:
        if self.criteria.metric == "cosine":
            norms = np.linalg.norm(a) * np.linalg.norm(b)
            return 1 - a @ b / norms if norms > 1e-6 else 1.0
        return float(getattr(scipy_distance, self.criteria.metric)(a, b))

    def decided(self, value: float, threshold: float) -> float:
        self.margin = min(self.margin, abs(value - threshold))
        return value

    def centroid(self, members: list[int]) -> np.ndarray:
        return self.x[members].mean(axis=0)

    def noise(self, identities: list[list[int]], half_range: int) -> tuple[list[int], list[int], float]:
        """Eqs. 1 to 3, of the pairs at most half_range places apart."""
        cst, drm = [], []
        centroids = [self.centroid(members) for members in identities]
        for k, members in enumerate(identities):
            radius = max(self.dist(self.x[i], centroids[k]) for i in members)
            cst.append(int(self.decided(radius, self.criteria.consistency) >= self.criteria.consistency))
            near = [
                self.decided(self.dist(centroids[k], centroids[j]), self.criteria.discrimination)
                for j in range(max(0, k - half_range), min(len(identities), k + half_range + 1))
                if j != k
            ]
            drm.append(sum(d <= self.criteria.discrimination for d in near))
        return cst, drm, (sum(cst) + sum(drm)) / max(1, len(identities))

    def single_tracklet(self, members: list[int]) -> tuple[list[int], list[int]]:
        """Eq. 4; images that tie for the largest deviation leave together."""
        members, excluded = list(members), []
        while len(members) > 1:
            deviation = {
                i: self.dist(self.x[i], self.centroid([j for j in members if j != i])) for i in members
            }
            largest = max(deviation.values())
            if self.decided(largest, self.criteria.consistency) < self.criteria.consistency:
                break
            gaps = [largest - d for d in deviation.values() if largest - d > 1e-9]
            self.margin = min([self.margin, *gaps])
            leaving = [i for i, d in deviation.items() if d >= largest - TIE]
            members = [i for i in members if i not in leaving]
            excluded += leaving
        return members, excluded

    def single_video(self, sets: list[list[int]], exclusions: list[list[int]]) -> list[list[int]]:
        """Eqs. 5 and 6: the centroids are those before reallocation, the merging is closed."""
        centroids = {k: self.centroid(members) for k, members in enumerate(sets) if members}
        grown = [list(members) for members in sets]
        for k, excluded in enumerate(exclusions):
            for i in excluded:
                near = {r: self.dist(self.x[i], c) for r, c in centroids.items() if r != k}
                if not near:
                    continue
                nearest = min(near, key=lambda r: near[r])
                gaps = [d - near[nearest] for d in near.values() if d - near[nearest] > 1e-9]
                self.margin = min([self.margin, *gaps])
                if self.decided(near[nearest], self.criteria.consistency) < self.criteria.consistency:
                    grown[nearest].append(i)
        return self.closure([members for members in grown if members], half_range=len(sets))

    def closure(self, sets: list[list[int]], half_range: int) -> list[list[int]]:
        """Eqs. 6 and 7: sets within sigma_drm and the range are linked, and linked sets are one."""
        centroids = [self.centroid(members) for members in sets]
        group = list(range(len(sets)))
        for c in range(len(sets)):
            for i in range(max(0, c - half_range), min(len(sets), c + half_range + 1)):
                if i == c:
                    continue
                d = self.decided(self.dist(centroids[i], centroids[c]), self.criteria.discrimination)
                if d <= self.criteria.discrimination and group[i] != group[c]:
                    old, new = max(group[i], group[c]), min(group[i], group[c])
                    group = [new if g == old else g for g in group]
        return [sum((sets[k] for k in range(len(sets)) if group[k] == g), []) for g in sorted(set(group))]

    def stages(self) -> dict[str, list[list[int]]]:
        """The sets of images as given and after each level, in the order of the concatenated videos."""
        found: dict[str, list[list[int]]] = {"given": [], "tracklet": [], "video": []}
        for video in dict.fromkeys(self.videos):
            mine = [i for i, v in enumerate(self.videos) if v == video]
            names = dict.fromkeys(self.tracklets[i] for i in mine)
            given = [[i for i in mine if self.tracklets[i] == name] for name in names]
            split = [self.single_tracklet(members) for members in given]
            sets, exclusions = [kept for kept, _ in split], [dropped for _, dropped in split]
            found["given"] += given
            found["tracklet"] += [members for members in sets if members]
            found["video"] += self.single_video(sets, exclusions)
        found["cross_video"] = self.closure(found["video"], self.criteria.half_range)
        return found

    def labels(self, sets: list[list[int]]) -> list[int]:
        """The set of each image, -1 for none."""
        label = [-1] * len(self.x)
        for identity, members in enumerate(sets):
            for i in members:
                label[i] = identity
        return label


@st.composite
def worlds(draw: Any, metric: str = "cosine") -> dict[str, Any]:
    """Up to 60 tracklets of up to 6 images: switched images, duplicates, videos, rows in any order."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tracklets, people = draw(st.integers(1, 60)), draw(st.integers(1, 12))
    dim = draw(st.sampled_from([3, 8, 16]))
    home = rng.integers(0, draw(st.integers(1, 8)), tracklets)
    tracklet = np.repeat(np.arange(tracklets), rng.integers(1, 7, tracklets))
    who = rng.integers(0, people, tracklets)[tracklet]
    switched = rng.random(len(who)) < draw(st.sampled_from([0.0, 0.1, 0.4]))
    who = np.where(switched, rng.integers(0, people, len(who)), who)
    centres = rng.normal(size=(people, dim))
    features = centres[who] + draw(st.sampled_from([0.02, 0.2, 0.5])) * rng.normal(size=(len(who), dim))
    if draw(st.booleans()):
        features = features[rng.integers(0, max(1, len(who) // 3), len(who))]
    order = rng.permutation(len(who)) if draw(st.booleans()) else np.arange(len(who))
    scale = 1.0 if metric == "cosine" else np.sqrt(dim)
    return {
        "features": features[order].astype(np.float32),
        "tracklets": tracklet[order].tolist(),
        "videos": home[tracklet][order].tolist(),
        "criteria": Criteria(
            consistency=scale * draw(st.floats(0.02, 0.8)),
            discrimination=scale * draw(st.floats(0.02, 0.5)),
            half_range=draw(st.sampled_from([0, 1, 3, 10, 1000])),
            metric=metric,
        ),
        "valid": None,
    }


def transcription(world: dict[str, Any]) -> Transcription:
    return Transcription(**{name: value for name, value in world.items() if name != "valid"})


def same_partition(one: Any, other: Any) -> bool:
    """Equal up to renaming, with the same images discarded."""
    one, other = np.asarray(one), np.asarray(other)
    kept = one >= 0
    names = set(zip(one[kept].tolist(), other[kept].tolist(), strict=True))
    bijection = len(names) == len({a for a, _ in names}) == len({b for _, b in names})
    return bool((kept == (other >= 0)).all()) and bijection


@settings(max_examples=30)
@given(world=worlds())
def test_each_level_is_its_equations_label_for_label(world: dict[str, Any]) -> None:
    paper = transcription(world)
    expected = paper.stages()
    assume(paper.margin > MARGIN)
    for level in LEVELS:
        assert same_partition(denoise(**world, level=level).identity, paper.labels(expected[level]))


@settings(max_examples=20)
@given(world=worlds())
def test_the_report_has_the_noise_of_each_level_within_the_range(world: dict[str, Any]) -> None:
    paper = transcription(world)
    expected = [paper.noise(sets, world["criteria"].half_range)[2] for sets in paper.stages().values()]
    assume(paper.margin > MARGIN)
    levels = denoise(**world).report.levels
    assert [levels[0].before.n_s, *(level.after.n_s for level in levels)] == pytest.approx(expected)
    assert [level.before.n_s for level in levels[1:]] == [level.after.n_s for level in levels[:-1]]


@pytest.mark.parametrize("metric", ["euclidean", "cityblock"])
@settings(max_examples=15)
@given(data=st.data())
def test_other_distances_follow_the_same_equations(metric: str, data: Any) -> None:
    world = data.draw(worlds(metric))
    paper = transcription(world)
    expected = paper.labels(paper.stages()["cross_video"])
    assume(paper.margin > MARGIN)
    assert same_partition(denoise(**world).identity, expected)


@settings(max_examples=25)
@given(world=worlds())
def test_noise_is_eqs_1_to_3(world: dict[str, Any]) -> None:
    paper = transcription(world)
    names = list(dict.fromkeys(world["tracklets"]))
    members = [[i for i, t in enumerate(world["tracklets"]) if t == name] for name in names]
    consistency, discrimination, n_s = paper.noise(members, len(members))
    assume(paper.margin > MARGIN)
    found = noise(world["features"], world["tracklets"], world["criteria"], valid=None)
    assert found.identity.tolist() == names
    assert found.consistency.tolist() == consistency
    assert found.discrimination.tolist() == discrimination
    assert found.n_s == pytest.approx(n_s)
    assert found.per_identity.sum() == pytest.approx(n_s * len(names))
