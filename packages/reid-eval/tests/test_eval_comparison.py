"""Intervals and tests of two results: against closed forms, and honest about what can't be compared."""

from dataclasses import replace

import numpy as np
import pytest

from reid_eval import evaluate
from reid_eval.comparison import compare_results, same_queries


def result(noise, people=60, seed=0):
    rng = np.random.default_rng(seed)
    pids = np.arange(people)
    features = np.eye(people) + noise * rng.random((people, people))
    return evaluate(features, np.eye(people), pids, pids, pids * 0, pids * 0 + 1)


def rows(*arguments, **options):
    return {row.metric: row for row in compare_results(*arguments, **options)}


def test_values_are_the_results_own_and_differences_their_differences():
    one, two = result(3), result(1)
    for metric, row in rows(one, two, paired=True).items():
        assert row.first.value == pytest.approx(one.summary()[metric], abs=1e-12)
        assert row.second.value == pytest.approx(two.summary()[metric], abs=1e-12)
        assert row.difference.value == pytest.approx(row.second.value - row.first.value, abs=1e-12)


def test_intervals_are_those_of_the_mean_for_many_queries():
    one = result(3, people=400)
    interval = rows(one, one, paired=False)["mAP"].first
    error = one.ap.std() / 20
    assert interval.low == pytest.approx(one.mAP - 1.96 * error, abs=0.15 * error)
    assert interval.high == pytest.approx(one.mAP + 1.96 * error, abs=0.15 * error)


def test_the_paired_test_is_the_share_of_sign_flips_as_extreme():
    one = result(3, people=8)
    gain = np.array([0.1, 0.2, -0.05, 0.1, 0.3, 0.0, 0.15, 0.2])
    two = replace(one, ap=one.ap + gain)
    flips = np.array(np.meshgrid(*[[1, -1]] * 8)).reshape(8, -1)
    extreme = np.abs((gain[:, None] * flips).mean(0)) >= gain.mean() - 1e-12
    assert rows(one, two, paired=True)["mAP"].p == pytest.approx(extreme.mean(), abs=1e-9)


def test_a_result_does_not_differ_from_itself():
    row = rows(result(3), result(3), paired=True)["mAP"]
    assert row.difference == (0, 0, 0) and row.p == 1


def test_unpaired_results_have_no_test_and_no_interval_of_the_difference():
    row = rows(result(3), result(3, people=50), paired=False)["mAP"]
    assert np.isnan(row.p) and np.isnan(row.difference.low) and not np.isnan(row.first.low)


def test_tar_is_of_pairs_and_has_no_interval_over_queries():
    one = replace(result(3), tar={1e-4: 0.25})
    row = rows(one, replace(one, tar={1e-4: 0.5}), paired=True)["tar_1e-4"]
    assert row.difference.value == 0.25 and np.isnan(row.first.low)


def test_the_same_seed_gives_the_same_numbers():
    assert compare_results(result(3), result(1), paired=True) == compare_results(
        result(3), result(1), paired=True
    )


def test_what_cannot_be_compared_is_refused():
    one, other = result(3), result(3, people=50)
    assert same_queries(one, result(1)) and not same_queries(one, other)
    with pytest.raises(ValueError, match="not of the same queries"):
        compare_results(one, other, paired=True)
    with pytest.raises(ValueError, match="level must be"):
        compare_results(one, one, paired=True, level=95)
    single = replace(
        one, **{name: getattr(one, name)[:1] for name in ("ap", "inp", "first_ranks", "valid_queries")}
    )
    with pytest.raises(ValueError, match="at least 2 valid queries"):
        compare_results(single, single, paired=True)
