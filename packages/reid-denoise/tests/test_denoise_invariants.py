"""What denoising must leave unchanged, and what it must never make worse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

from reid_denoise import Criteria, denoise, noise

pytestmark = pytest.mark.filterwarnings(
    "ignore::reid_denoise.plausibility.ImplausibleIdentities"
)  # random worlds

SETTINGS = settings(max_examples=20)


@st.composite
def separable_worlds(draw: Any) -> dict[str, Any]:
    """People far apart, seen in videos by tracklets with at most a quarter of switched images each."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    people, tracklets, length, dim = draw(st.integers(1, 8)), draw(st.integers(1, 30)), 8, 32
    centres = np.linalg.qr(rng.normal(size=(dim, dim)))[0][:people]
    owner = rng.integers(0, people, tracklets)
    who = np.repeat(owner, length).reshape(tracklets, length)
    switched = draw(st.integers(0, length // 4))
    who[:, :switched] = rng.integers(0, people, (tracklets, switched))
    features = centres[who.ravel()] + 0.02 * rng.normal(size=(who.size, dim))
    tracklet = np.repeat(np.arange(tracklets), length)
    return {
        "features": features.astype(np.float32),
        "tracklets": tracklet,
        "videos": np.sort(rng.integers(0, 4, tracklets))[tracklet],
        "criteria": Criteria(),
        "valid": None,
    }


def rename(identity: np.ndarray) -> list[int]:
    """Identities numbered by their first images, -1 as it is."""
    names: dict[int, int] = {-1: -1}
    return [names.setdefault(int(name), len(names) - 1) for name in identity]


@SETTINGS
@given(world=separable_worlds(), seed=st.integers(0, 2**32 - 1))
def test_the_order_of_images_in_a_tracklet_has_no_influence(world: dict[str, Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    moved = np.arange(len(world["tracklets"]))
    for tracklet in np.unique(world["tracklets"]):
        rows = np.flatnonzero(world["tracklets"] == tracklet)
        moved[rows] = rng.permutation(rows)
    shuffled = denoise(**{**world, "features": world["features"][moved]}).identity
    assert rename(shuffled) == rename(denoise(**world).identity[moved])


@SETTINGS
@given(world=separable_worlds(), seed=st.integers(0, 2**32 - 1))
def test_rotating_all_features_has_no_influence(world: dict[str, Any], seed: int) -> None:
    rotation = ortho_group.rvs(world["features"].shape[1], random_state=seed)
    rotated = (world["features"] @ rotation).astype(np.float32)
    assert denoise(**{**world, "features": rotated}).identity.tolist() == denoise(**world).identity.tolist()


@SETTINGS
@given(world=separable_worlds())
def test_denoising_what_was_denoised_changes_nothing(world: dict[str, Any]) -> None:
    identity = denoise(**world).identity
    kept = identity >= 0
    again = denoise(world["features"][kept], identity[kept], np.zeros(kept.sum(), dtype=int), valid=None)
    assert rename(again.identity) == rename(identity[kept])


@SETTINGS
@given(world=separable_worlds())
def test_noise_never_rises_on_separable_sets(world: dict[str, Any]) -> None:
    for level in denoise(**world).report.levels:
        assert level.after.n_s <= level.before.n_s


@SETTINGS
@given(world=separable_worlds())
def test_separable_people_are_found_and_their_noise_is_gone(world: dict[str, Any]) -> None:
    result = denoise(**world)
    assert noise(world["features"], result.identity, world["criteria"], valid=None).n_s == 0
    assert result.report.levels[-1].after.n_s == 0


@SETTINGS
@given(seed=st.integers(0, 2**32 - 1), sigma=st.floats(0.01, 1.5))
def test_no_tracklet_is_loose_after_the_first_level(seed: int, sigma: float) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(60, 4)).astype(np.float16)
    result = denoise(
        features,
        rng.integers(0, 9, 60),
        np.zeros(60, dtype=int),
        Criteria(consistency=sigma),
        valid=None,
        level="tracklet",
    )
    assert result.report.levels[0].after.consistency == 0


@SETTINGS
@given(world=separable_worlds(), ranges=st.tuples(st.integers(0, 5), st.integers(0, 5)))
def test_a_wider_range_links_no_less(world: dict[str, Any], ranges: tuple[int, int]) -> None:
    narrow, wide = (
        denoise(**{**world, "criteria": Criteria(half_range=half_range)}).report.levels[-1].identities
        for half_range in sorted(ranges)
    )
    assert wide <= narrow
