"""Degenerate sets, bad input, blocks and bands, the order of videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reid_denoise import LEVELS, Criteria, denoise, layout, noise, noise_metric, sweep, video

A, B, C = np.eye(3, dtype=np.float32)


def identities(rows: list[np.ndarray], tracklets: list[int], videos: list[int], **options: Any) -> list[int]:
    return denoise(np.stack(rows), tracklets, videos, valid=None, **options).identity.tolist()


def test_a_tracklet_of_one_image_stays() -> None:
    assert identities([A], [0], [0]) == [0]


def test_two_images_that_agree_stay() -> None:
    assert identities([A, A + 0.1 * B], [0, 0], [0, 0]) == [0, 0]


def test_two_images_that_disagree_both_go_for_nothing_says_which_is_right() -> None:
    assert identities([A, B], [0, 0], [0, 0]) == [-1, -1]


def test_images_of_an_emptied_tracklet_may_find_another_one() -> None:
    assert identities([A, B, B, B], [0, 0, 1, 1], [0, 0, 0, 0]) == [-1, 0, 0, 0]


def test_a_dropped_image_finds_no_tracklet_of_another_video() -> None:
    assert identities([A, A, B, B, B], [0, 0, 0, 1, 1], [0, 0, 0, 1, 1]) == [0, 0, -1, 1, 1]


def test_duplicates_of_an_outlier_leave_together() -> None:
    assert identities([A, A, A, A, A, B, B], [0] * 7, [0] * 7) == [0, 0, 0, 0, 0, -1, -1]


def test_all_images_dropped_leaves_an_empty_video_and_no_noise() -> None:
    result = denoise(np.stack([A, B, C]), [4, 4, 4], [2, 2, 2], valid=None)
    assert result.identity.tolist() == [-1, -1, -1]
    level = result.report.levels[0]
    assert (level.removed, level.emptied, level.identities, level.after.n_s) == (3, 1, 0, 0)


def test_an_emptied_video_between_two_others_takes_no_place_in_the_range() -> None:
    rows, tracklets = [A, B, C, A], [0, 1, 1, 2]
    assert identities(rows, tracklets, [0, 1, 1, 2], criteria=Criteria(half_range=1)) == [0, -1, -1, 0]


def test_opposite_images_have_a_centroid_without_direction_at_distance_1() -> None:
    found = noise(np.stack([A, -A, B]), [0, 0, 1], Criteria(discrimination=0.9), valid=None)
    assert found.radius.tolist() == [1, 0]
    assert found.discrimination.tolist() == [0, 0]


def test_distances_may_reach_the_thresholds() -> None:
    """mu(0) = 1: a deviation of sigma_cst is noise, a distance of sigma_drm is too near."""
    points = np.array([[0.0], [2.0], [10.0], [13.0]], dtype=np.float32)
    criteria = Criteria(consistency=2, discrimination=3, metric="euclidean")
    assert denoise(points[:2], [0, 0], [0, 0], criteria, valid=None).identity.tolist() == [-1, -1]
    assert denoise(points[2:], [0, 1], [0, 0], criteria, valid=None).identity.tolist() == [0, 0]


def test_chains_merge_though_their_ends_are_far_apart() -> None:
    chain = np.arange(5, dtype=np.float32)[:, None]
    criteria = Criteria(consistency=1, discrimination=1, half_range=1, metric="euclidean")
    assert denoise(chain, list(range(5)), list(range(5)), criteria, valid=None).identity.tolist() == [0] * 5


def test_range_counts_tracklets_to_either_side() -> None:
    rows, ids = [A, B, C, A], [0, 1, 2, 3]
    assert identities(rows, ids, ids, criteria=Criteria(half_range=2)) == [0, 1, 2, 3]
    assert identities(rows, ids, ids, criteria=Criteria(half_range=3)) == [0, 1, 2, 0]


def test_feature_order_brings_far_matches_into_range() -> None:
    rng = np.random.default_rng(0)
    cast = rng.normal(size=(40, 16)).astype(np.float32)
    who = np.concatenate([np.arange(40), np.arange(40)])
    features, ids = cast[who], np.arange(80)
    criteria = Criteria(half_range=3)
    given = denoise(features, ids, ids, criteria, valid=None).report.levels[-1]
    ordered = denoise(features, ids, ids, criteria, valid=None, order="feature")
    assert given.identities == 80
    assert ordered.report.levels[-1].identities == 40
    assert ordered.identity.tolist() == who.tolist()


def test_small_blocks_bands_and_tiles_give_the_same_identities(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    tracklets = np.repeat(np.arange(40), 5)
    people = rng.normal(size=(10, 8))
    who = np.where(rng.random(200) < 0.2, rng.integers(0, 10, 200), tracklets % 10)
    features = (people[who] + 0.3 * rng.normal(size=(200, 8))).astype(np.float16)
    arguments = (features, tracklets, tracklets // 8, Criteria(half_range=15))
    whole = denoise(*arguments, valid=None)
    for module, name, value in (
        (layout, "PIECE", 7),
        (noise_metric, "PIECE", 7),
        (video, "PIECE", 7),
        (noise_metric, "BAND", 3),
        (video, "TILE", (2, 3)),
    ):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr("reid_denoise.pipeline.BLOCK", 50)
    monkeypatch.setattr("reid_denoise.distances.TILE", (2, 3))
    cut = denoise(*arguments, valid=None)
    assert cut.identity.tolist() == whole.identity.tolist()
    assert cut.report.levels == whole.report.levels


def test_a_mapped_file_gives_what_the_array_gives(tmp_path: Path) -> None:
    features = np.random.default_rng(2).normal(size=(50, 6)).astype(np.float16)
    np.save(tmp_path / "f.npy", features)
    ids = np.arange(50) // 4
    mapped = np.load(tmp_path / "f.npy", mmap_mode="r")
    assert (
        denoise(mapped, ids, ids // 3, valid=None).identity.tolist()
        == denoise(features, ids, ids // 3, valid=None).identity.tolist()
    )


def test_the_report_accounts_for_every_image_and_tracklet() -> None:
    rows = [A, A, B, B, B, A, C, B, B, C, B]
    result = denoise(
        np.stack(rows), [0, 0, 1, 1, 1, 1, 2, 3, 3, 3, 4], [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1], valid=None
    )
    first, second, third = result.report.levels
    assert (first.removed, first.images, first.identities, first.emptied) == (2, 9, 5, 0)
    assert (second.moved, second.removed, second.images, second.identities, second.merged) == (1, 1, 10, 4, 1)
    assert (third.merged, third.identities) == (1, 3)
    assert [link.tracklets for link in result.report.borderline] == [(1, 3)]


GOOD = {"features": np.eye(3, dtype=np.float32), "tracklets": [0, 0, 1], "videos": [0, 0, 0], "valid": None}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"features": np.array([[1.0, 0], [np.nan, 1], [1, 1]])}, "row 1 is NaN"),
        ({"features": np.array([[1.0, 0], [1, 1], [np.inf, 1]])}, "row 2 is infinite"),
        ({"features": np.array([[1.0, 0], [0, 0], [1, 1]])}, "row 1 is zero"),
        ({"features": np.ones((3, 2), dtype=int)}, "floating point"),
        ({"features": np.ones(3)}, r"\[n d\]"),
        ({"features": np.ones((0, 3))}, "non-empty"),
        ({"tracklets": np.array([0, 0, 2**64 - 1], np.uint64)}, "row 2: tracklets is 18446744073709551615"),
        ({"tracklets": [0, 0]}, "row 2 is the first without a partner"),
        ({"tracklets": [0, -2, 1]}, "row 1: tracklets is -2"),
        ({"tracklets": [-1, -1, -1]}, "every image is left out"),
        ({"videos": [0, -1, 0]}, "row 1: videos is -1, but a tracklet is given"),
        ({"tracklets": ["a", "b", "c"]}, "integers"),
        ({"videos": [0, 3, 0]}, "row 1: tracklet 0 is in video 3 here and in video 0 in row 0"),
        ({"videos": [0, 0, 0, 0]}, "videos has shape"),
        ({"valid": np.zeros(3, dtype=bool)}, "every image is left out"),
        ({"valid": np.ones(2, dtype=bool)}, r"valid has shape \(2,\), but features has 3 rows"),
        ({"valid": [1, 1, 0]}, "valid must be bool"),
        ({"level": "frame"}, "level='frame'"),
        ({"order": "random"}, "order='random'"),
    ],
)
def test_bad_input_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        denoise(**{**GOOD, **change})


@pytest.mark.parametrize(
    "criteria",
    [
        {"consistency": 0},
        {"consistency": 2.1},
        {"consistency": float("nan")},
        {"discrimination": -0.1},
        {"half_range": -1},
        {"half_range": 0.5},
        {"metric": "nearness"},
        {"metric": "mahalanobis"},
    ],
)
def test_criteria_out_of_range_are_refused_by_name(criteria: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(criteria))):
        Criteria(**criteria)


def test_an_image_without_tracklet_is_left_out_whatever_its_row_holds() -> None:
    rows = np.stack([A, A, np.full(3, np.nan), B])
    result = denoise(rows, [0, 0, -1, 1], [0, 0, -1, 0], valid=None)
    assert result.identity.tolist() == [0, 0, -1, 1]
    assert (result.report.images, result.report.levels[0].removed) == (3, 0)


@pytest.mark.faults
@pytest.mark.parametrize("fill", [0.0, np.nan, np.inf])
def test_an_image_without_a_feature_is_left_out_and_counted_whatever_its_row_holds(fill: float) -> None:
    rows = np.stack([A, A, np.full(3, fill), B])
    valid = np.array([True, True, False, True])
    result = denoise(rows, [0, 0, 0, 1], [0, 0, 0, 0], valid=valid)
    assert result.identity.tolist() == [0, 0, -1, 1]
    assert (result.report.images, result.report.without_feature) == (3, 1)
    assert noise(rows, [0, 0, 0, 1], valid=valid).n_s == 0


@pytest.mark.parametrize("function", [denoise, sweep])
def test_the_mask_must_be_given(function: Any) -> None:
    with pytest.raises(TypeError, match="valid"):
        function(np.eye(3), [0, 0, 1], [0, 0, 0])


def test_one_call_gives_the_identities_of_every_level_bit_for_bit() -> None:
    rng = np.random.default_rng(4)
    tracklets = np.repeat(np.arange(40), 5)
    who = np.where(rng.random(200) < 0.2, rng.integers(0, 10, 200), tracklets % 10)
    features = rng.normal(size=(10, 8))[who] + 0.3 * rng.normal(size=(200, 8))
    arguments = {"features": features, "tracklets": tracklets, "videos": tracklets // 8, "valid": None}
    whole = denoise(**arguments)
    assert list(whole.levels) == list(LEVELS)
    for level in LEVELS:
        alone = denoise(**arguments, level=level)
        np.testing.assert_array_equal(whole.levels[level], alone.identity)
        assert list(alone.levels) == list(LEVELS[: LEVELS.index(level) + 1])
        assert alone.report.levels == whole.report.levels[: len(alone.levels)]
    assert len({identity.tobytes() for identity in whole.levels.values()}) == 3


def weak_world(spread: float) -> dict[str, Any]:
    """62 people in 124 tracklets of 8 images; all point the same way but for `spread`."""
    rng = np.random.default_rng(0)
    tracklets = np.repeat(np.arange(124), 8)
    people = 1 + spread * rng.normal(size=(62, 16))
    features = people[tracklets // 2] + 0.2 * spread * rng.normal(size=(len(tracklets), 16))
    return {"features": features, "tracklets": tracklets, "videos": tracklets // 12, "valid": None}


@pytest.mark.faults
@pytest.mark.parametrize(
    "spread, criteria, message",
    [
        (
            0.2,
            Criteria(),
            r"identity 0 holds 100 % .*124 of 124 tracklets.*124 tracklets were merged into 1 iden",
        ),
        (3.0, Criteria(consistency=0.01), r"\d+ % of the images were discarded"),
    ],
)
def test_identities_that_look_wrong_are_warned_of_with_what_to_do(
    spread: float, criteria: Criteria, message: str
) -> None:
    with pytest.warns(UserWarning, match=f"{message}.*choose thresholds .* by calibrate_criteria") as caught:
        result = denoise(**weak_world(spread), criteria=criteria)
    assert caught[0].filename == __file__
    assert result.report.to_dict()["implausible"] == result.report.implausible != ()


def test_plausible_identities_give_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    result = denoise(**weak_world(3.0))
    assert result.report.levels[-1].identities == 62
    assert not recwarn.list and result.report.implausible == ()


def test_zero_rows_are_points_like_others_for_other_metrics() -> None:
    criteria = Criteria(consistency=1, discrimination=0.5, metric="euclidean")
    assert denoise(np.zeros((3, 2)), [0, 0, 1], [0, 0, 0], criteria, valid=None).identity.tolist() == [
        0,
        0,
        0,
    ]
