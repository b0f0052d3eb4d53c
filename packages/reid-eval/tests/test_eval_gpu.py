"""Evaluation on a GPU gives what it gives on the CPU: to the last digit where products are exact."""

from __future__ import annotations

import numpy as np
import pytest

from reid_eval import PROTOCOLS, evaluate, k_reciprocal, rank

pytestmark = pytest.mark.gpu

FAR = (1e-3, 1e-2, 0.5)
QUERIES, GALLERY, PEOPLE, CAMERAS, DIM = 300, 3000, 60, 4, 64


def integers(seed: int = 0) -> dict[str, np.ndarray]:
    """Features of small whole numbers: their distances are exact in float32, and many are equal."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(-3, 4, (PEOPLE, DIM))
    pids = {"query_pids": rng.integers(0, PEOPLE, QUERIES), "gallery_pids": rng.integers(-1, PEOPLE, GALLERY)}
    cameras = {
        name.replace("pids", "camids"): rng.integers(0, CAMERAS, len(values)) for name, values in pids.items()
    }
    features = {
        name.replace("pids", "features"): (centres[values] + rng.integers(-4, 5, (len(values), DIM))).astype(
            np.float32
        )
        for name, values in pids.items()
    }
    return features | pids | cameras


def reals(seed: int = 0) -> dict[str, np.ndarray]:
    """Features without ties, in float64."""
    rng = np.random.default_rng(seed)
    case = integers(seed)
    for name in ("query_features", "gallery_features"):
        case[name] = case[name].astype(np.float64) + rng.normal(size=case[name].shape)
    return case


@pytest.mark.parametrize("protocol", ["market1501", "pku_reid", "prid2011"])
def test_exact_distances_give_the_same_result_ties_included(device, protocol):
    case, rule = integers(), PROTOCOLS[protocol]
    ours, theirs = (
        evaluate(**case, metric="euclidean", far=FAR, protocol=rule, device=where)
        for where in (device, "cpu")
    )
    assert ours.summary() == theirs.summary()
    for name in ("valid_queries", "ap", "inp", "first_ranks"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    np.testing.assert_array_equal(ours.roc.tar, theirs.roc.tar)
    np.testing.assert_array_equal(ours.score_histogram.genuine, theirs.score_histogram.genuine)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_real_features_give_the_same_result(device, metric):
    case = reals()
    ours, theirs = (evaluate(**case, metric=metric, far=FAR, device=where) for where in (device, "cpu"))
    assert ours.summary() == theirs.summary()
    np.testing.assert_array_equal(ours.first_ranks, theirs.first_ranks)


def test_ranked_lists_are_the_same(device):
    case = integers()
    ours, theirs = (rank(**case, metric="euclidean", k=20, device=where) for where in (device, "cpu"))
    np.testing.assert_array_equal(ours.indices, theirs.indices)
    np.testing.assert_array_equal(ours.correct, theirs.correct)


def test_re_ranking_with_neighbours_from_the_device_is_the_same(device):
    case = reals()
    features = case["query_features"], case["gallery_features"]
    ours, theirs = (k_reciprocal(*features, device=where) for where in (device, "cpu"))
    np.testing.assert_allclose(ours.distances(0, QUERIES), theirs.distances(0, QUERIES), atol=1e-5)
    results = [evaluate(**case, reranking=ours, device=device), evaluate(**case, reranking=theirs)]
    assert results[0].mAP == pytest.approx(results[1].mAP, abs=1e-6)
