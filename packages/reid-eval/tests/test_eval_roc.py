"""TAR@FAR, the ROC and the histogram equal scikit-learn's and NumPy's on the same pairs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from reid_eval import evaluate
from reid_eval.protocols import all_pairs
from reid_eval.roc import rates

pytestmark = pytest.mark.filterwarnings("ignore:.*enter no mean")  # random cases

FAR = (1e-3, 0.01, 0.1, 0.25, 0.5, 0.9)


def expected(scores, same, valid, far):
    fpr, tpr, _ = roc_curve(same[valid], scores[valid], drop_intermediate=False)
    return {rate: tpr[fpr <= rate].max() for rate in far}, fpr, tpr


@st.composite
def cases(draw):
    """Scores that are exact in any order of summation: small integers, so many ties, zeros and both signs."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    scale = draw(st.sampled_from([1e-6, 1.0, 1e6]))
    queries, gallery, dim = draw(st.integers(2, 8)), draw(st.integers(2, 40)), draw(st.integers(1, 3))
    query = (rng.integers(-3, 4, (queries, dim)) * 2.0 ** round(np.log2(scale))).astype(dtype)
    return (
        query,
        (rng.integers(-3, 4, (gallery, dim)) * 2.0 ** round(np.log2(scale))).astype(dtype),
        *(rng.integers(1, 3, size) for size in (queries, gallery, queries, gallery)),
    )


@settings(max_examples=60, deadline=None)
@given(case=cases())
def test_equals_scikit_learn_with_ties(case):
    query, gallery, q_pids, g_pids, q_camids, g_camids = case
    scores = -((query[:, None].astype(float) - gallery[None]) ** 2).sum(-1)
    same = q_pids[:, None] == g_pids
    valid = ~(same & (q_camids[:, None] == g_camids))
    if not (same & valid).any() or not (~same).any():
        with pytest.raises(ValueError, match="no valid query|no impostor pair"):
            evaluate(*case, metric="euclidean", far=FAR)
        return
    result = evaluate(*case, metric="euclidean", far=FAR)
    tar, fpr, tpr = expected(scores, same, valid, FAR)
    assert result.tar == pytest.approx(tar, abs=1e-12)
    points = set(zip(fpr.round(12), tpr.round(12), strict=True))
    assert set(zip(result.roc.far.round(12), result.roc.tar.round(12), strict=True)) <= points


@settings(max_examples=40, deadline=None)
@given(case=cases())
def test_each_threshold_accepts_the_shares_that_its_point_says(case):
    query, gallery, q_pids, g_pids, q_camids, g_camids = case
    scores = -((query[:, None].astype(float) - gallery[None]) ** 2).sum(-1)
    same = q_pids[:, None] == g_pids
    valid = ~(same & (q_camids[:, None] == g_camids))
    if not (same & valid).any() or not (~same).any():
        return
    roc = evaluate(*case, metric="euclidean", far=FAR).roc
    for far, tar, threshold in zip(*roc, strict=True):
        accepted = scores >= threshold
        assert far == pytest.approx(accepted[~same & valid].mean(), abs=1e-12)
        assert tar == pytest.approx(accepted[same & valid].mean(), abs=1e-12)


def test_the_threshold_of_a_wanted_rate_is_the_lowest_that_keeps_it():
    rng = np.random.default_rng(1)
    query, gallery = (rng.integers(-9, 10, (rows, 4)).astype(np.float32) for rows in (40, 90))
    pids, g_pids = rng.integers(0, 5, 40), rng.integers(0, 5, 90)
    roc = evaluate(query, gallery, pids, g_pids, far=FAR, metric="euclidean", protocol=all_pairs).roc
    impostor = (-((query[:, None].astype(float) - gallery[None]) ** 2).sum(-1))[pids[:, None] != g_pids]
    for far in FAR:
        threshold = roc.threshold_at(far)
        assert (impostor >= threshold).mean() <= far
        below = impostor[impostor < threshold].max()
        assert (impostor >= below).mean() > far


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equals_scikit_learn_on_real_values(dtype):
    rng = np.random.default_rng(0)
    pids, g_pids = rng.integers(0, 20, 60), rng.integers(0, 20, 300)
    people = rng.normal(size=(20, 8))
    query = (people[pids] + rng.normal(size=(60, 8))).astype(dtype)
    gallery = (people[g_pids] + rng.normal(size=(300, 8))).astype(dtype)
    result = evaluate(query, gallery, pids, g_pids, far=FAR, protocol=all_pairs)
    scores = query.astype(float) @ gallery.astype(float).T
    scores /= np.outer(np.linalg.norm(query, axis=1), np.linalg.norm(gallery, axis=1))
    same = pids[:, None] == g_pids
    tar, fpr, tpr = expected(scores, same, np.ones_like(same), FAR)
    assert result.tar == pytest.approx(tar, abs=1e-12)
    assert (np.diff(result.roc.far) >= 0).all() and (np.diff(result.roc.tar) >= 0).all()
    area = np.trapezoid(result.roc.tar, result.roc.far)
    assert area == pytest.approx(np.trapezoid(tpr, fpr), abs=2e-3)
    histogram = result.score_histogram
    for counts, chosen in ((histogram.genuine, same), (histogram.impostor, ~same)):
        np.testing.assert_array_equal(counts, np.histogram(scores[chosen], histogram.edges)[0])
    assert 20 <= len(histogram.edges) <= 300
    np.testing.assert_allclose(np.diff(histogram.edges), np.diff(histogram.edges)[0])


def test_tiles_do_not_change_the_rates(monkeypatch):
    rng = np.random.default_rng(0)
    case = (
        rng.normal(size=(20, 4)),
        rng.normal(size=(50, 4)),
        rng.integers(0, 4, 20),
        rng.integers(0, 4, 50),
    )
    whole = evaluate(*case, far=FAR, protocol=all_pairs)
    monkeypatch.setattr("reid_eval.scores.TILE_PAIRS", {"cpu": 100})
    assert evaluate(*case, far=FAR, protocol=all_pairs).tar == whole.tar


def test_tar_is_one_where_every_genuine_pair_beats_every_impostor():
    features, pids = np.eye(4), np.arange(4)
    assert evaluate(features, features, pids, pids, far=(0.01,), protocol=all_pairs).tar == {0.01: 1.0}


def test_without_far_there_are_no_rates():
    features, pids = np.eye(4), np.arange(4)
    result = evaluate(features, features, pids, pids, protocol=all_pairs)
    assert (dict(result.tar), result.roc, result.score_histogram) == ({}, None, None)


@pytest.mark.parametrize("far", [0.0, 1.0, -0.1, float("nan")])
def test_a_rate_outside_zero_to_one_is_refused(far):
    with pytest.raises(ValueError, match="far must be rates between 0 and 1"):
        evaluate(np.eye(2), np.eye(2), [1, 2], [1, 2], protocol=all_pairs, far=(far,))


def test_scores_that_change_between_passes_are_noticed():
    counts = np.zeros((2, 1 << 16), dtype=np.int64)
    counts[:, np.float32(0.5).view(np.uint32) >> 16] = 1, 3
    with pytest.raises(RuntimeError, match="other scores in a second pass"):
        rates(counts, torch.float32, (0.1,), passes=lambda: iter(()))
