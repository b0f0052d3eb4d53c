"""Degenerate sets, bad input, blocks and bands, the order of videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reid_denoise import Criteria, denoise, layout, noise, noise_metric, video

A, B, C = np.eye(3, dtype=np.float32)


def identities(rows: list[np.ndarray], tracklets: list[int], videos: list[int], **options: Any) -> list[int]:
    return denoise(np.stack(rows), tracklets, videos, **options).identity.tolist()


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
    result = denoise(np.stack([A, B, C]), [4, 4, 4], [2, 2, 2])
    assert result.identity.tolist() == [-1, -1, -1]
    level = result.report.levels[0]
    assert (level.removed, level.emptied, level.identities, level.after.n_s) == (3, 1, 0, 0)


def test_an_emptied_video_between_two_others_takes_no_place_in_the_range() -> None:
    rows, tracklets = [A, B, C, A], [0, 1, 1, 2]
    assert identities(rows, tracklets, [0, 1, 1, 2], criteria=Criteria(half_range=1)) == [0, -1, -1, 0]


def test_opposite_images_have_a_centroid_without_direction_at_distance_1() -> None:
    found = noise(np.stack([A, -A, B]), [0, 0, 1], Criteria(discrimination=0.9))
    assert found.radius.tolist() == [1, 0]
    assert found.discrimination.tolist() == [0, 0]


def test_distances_may_reach_the_thresholds() -> None:
    """mu(0) = 1: a deviation of sigma_cst is noise, a distance of sigma_drm is too near."""
    points = np.array([[0.0], [2.0], [10.0], [13.0]], dtype=np.float32)
    criteria = Criteria(consistency=2, discrimination=3, metric="euclidean")
    assert denoise(points[:2], [0, 0], [0, 0], criteria).identity.tolist() == [-1, -1]
    assert denoise(points[2:], [0, 1], [0, 0], criteria).identity.tolist() == [0, 0]


def test_chains_merge_though_their_ends_are_far_apart() -> None:
    chain = np.arange(5, dtype=np.float32)[:, None]
    criteria = Criteria(consistency=1, discrimination=1, half_range=1, metric="euclidean")
    assert denoise(chain, list(range(5)), list(range(5)), criteria).identity.tolist() == [0] * 5


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
    given = denoise(features, ids, ids, criteria).report.levels[-1]
    ordered = denoise(features, ids, ids, criteria, order="feature")
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
    whole = denoise(*arguments)
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
    cut = denoise(*arguments)
    assert cut.identity.tolist() == whole.identity.tolist()
    assert cut.report.levels == whole.report.levels


def test_a_mapped_file_gives_what_the_array_gives(tmp_path: Path) -> None:
    features = np.random.default_rng(2).normal(size=(50, 6)).astype(np.float16)
    np.save(tmp_path / "f.npy", features)
    ids = np.arange(50) // 4
    mapped = np.load(tmp_path / "f.npy", mmap_mode="r")
    assert (
        denoise(mapped, ids, ids // 3).identity.tolist() == denoise(features, ids, ids // 3).identity.tolist()
    )


def test_the_report_accounts_for_every_image_and_tracklet() -> None:
    rows = [A, A, B, B, B, A, C, B, B, C, B]
    result = denoise(np.stack(rows), [0, 0, 1, 1, 1, 1, 2, 3, 3, 3, 4], [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1])
    first, second, third = result.report.levels
    assert (first.removed, first.images, first.identities, first.emptied) == (2, 9, 5, 0)
    assert (second.moved, second.removed, second.images, second.identities, second.merged) == (1, 1, 10, 4, 1)
    assert (third.merged, third.identities) == (1, 3)
    assert [link.tracklets for link in result.report.borderline] == [(1, 3)]


GOOD = {"features": np.eye(3, dtype=np.float32), "tracklets": [0, 0, 1], "videos": [0, 0, 0]}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"features": np.array([[1.0, 0], [np.nan, 1], [1, 1]])}, "row 1 is NaN"),
        ({"features": np.array([[1.0, 0], [1, 1], [np.inf, 1]])}, "row 2 is infinite"),
        ({"features": np.array([[1.0, 0], [0, 0], [1, 1]])}, "row 1 is zero"),
        ({"features": np.ones((3, 2), dtype=int)}, "floating point"),
        ({"features": np.ones(3)}, r"\[n d\]"),
        ({"features": np.ones((0, 3))}, "non-empty"),
        ({"tracklets": [0, 0]}, "row 2 is the first without a partner"),
        ({"tracklets": [0, -2, 1]}, "row 1: tracklets is -2"),
        ({"tracklets": [-1, -1, -1]}, "every image is left out"),
        ({"videos": [0, -1, 0]}, "row 1: videos is -1, but a tracklet is given"),
        ({"tracklets": ["a", "b", "c"]}, "integers"),
        ({"videos": [0, 3, 0]}, "row 1: tracklet 0 is in video 3 here and in video 0 in row 0"),
        ({"videos": [0, 0, 0, 0]}, "videos has shape"),
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
    result = denoise(rows, [0, 0, -1, 1], [0, 0, -1, 0])
    assert result.identity.tolist() == [0, 0, -1, 1]
    assert (result.report.images, result.report.levels[0].removed) == (3, 0)


def test_zero_rows_are_points_like_others_for_other_metrics() -> None:
    criteria = Criteria(consistency=1, discrimination=0.5, metric="euclidean")
    assert denoise(np.zeros((3, 2)), [0, 0, 1], [0, 0, 0], criteria).identity.tolist() == [0, 0, 0]
