"""Re-ranking equals the published dense algorithm, written down directly."""

import numpy as np
import pytest
import torch

from reid_eval import evaluate, k_reciprocal, rank
from reid_eval.protocols import all_pairs


def dense_re_ranking(query, gallery, k1, k2, weight):
    """Zhong et al.'s Python code by its steps: distances, argsort, V, query expansion, Jaccard, all dense."""
    rows = np.concatenate([query, gallery]).astype(np.float32)
    original = ((rows[:, None] - rows[None]) ** 2).sum(-1)
    original = (original / original.max(axis=0)).T
    order = np.argsort(original, axis=1)
    count, split = len(rows), len(query)
    encoding = np.zeros_like(original)

    def reciprocal(row, k):
        forward = order[row, : k + 1]
        return forward[np.where(order[forward, : k + 1] == row)[0]]

    for row in range(count):
        neighbours = reciprocal(row, k1)
        expanded = neighbours
        for candidate in neighbours:
            near = reciprocal(candidate, int(np.around(k1 / 2)))
            if len(np.intersect1d(near, neighbours)) > 2 / 3 * len(near):
                expanded = np.append(expanded, near)
        expanded = np.unique(expanded)
        weights = np.exp(-original[row, expanded])
        encoding[row, expanded] = weights / weights.sum()
    if k2 != 1:
        encoding = np.stack([encoding[order[row, :k2]].mean(axis=0) for row in range(count)])
    jaccard = np.empty((split, count), dtype=np.float32)
    for row in range(split):
        lesser = np.minimum(encoding[row], encoding).sum(axis=1)
        jaccard[row] = 1 - lesser / (2 - lesser)
    return (jaccard * (1 - weight) + original[:split] * weight)[:, split:]


def people(seed=0, queries=40, gallery=160, dim=12):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(20, dim))
    pids, g_pids = rng.integers(0, 20, queries), rng.integers(0, 20, gallery)
    return (
        (centres[pids] + 0.7 * rng.normal(size=(queries, dim))).astype(np.float32),
        (centres[g_pids] + 0.7 * rng.normal(size=(gallery, dim))).astype(np.float32),
        pids,
        g_pids,
    )


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize(("k1", "k2", "weight"), [(20, 6, 0.3), (7, 3, 0.0), (5, 1, 0.5), (11, 2, 1.0)])
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_the_published_dense_algorithm(metric, k1, k2, weight, seed):
    query, gallery, *_ = people(seed)
    sides = (unit(query), unit(gallery)) if metric == "cosine" else (query, gallery)
    found = k_reciprocal(query, gallery, metric, k1=k1, k2=k2, weight=weight).distances(0, len(query))
    np.testing.assert_allclose(found, dense_re_ranking(*sides, k1, k2, weight), atol=1e-5)


def test_some_queries_have_the_same_distances_as_all():
    query, gallery, *_ = people()
    reranking = k_reciprocal(query, gallery)
    np.testing.assert_allclose(reranking.distances(7, 9), reranking.distances(0, 40)[7:9], atol=1e-6)


def test_entries_grow_with_the_rows_and_not_with_their_square():
    def entries(gallery):
        reranking = k_reciprocal(*people(queries=20, gallery=gallery)[:2], k1=5, k2=2)
        return (reranking.query.nnz + reranking.gallery.nnz) / (20 + gallery)

    assert entries(600) < 2 * entries(150)


def test_evaluate_and_ranked_score_by_the_re_ranked_distances():
    query, gallery, *pids = people()
    reranking = k_reciprocal(query, gallery)
    result = evaluate(query, gallery, *pids, protocol=all_pairs, reranking=reranking, far=(0.01,))
    order = np.argsort(reranking.distances(0, 40), axis=1, kind="stable")
    first = [1 + np.flatnonzero(pids[1][row] == pid)[0] for row, pid in zip(order, pids[0], strict=True)]
    np.testing.assert_array_equal(result.first_ranks, first)
    lists = rank(query, gallery, *pids, protocol=all_pairs, reranking=reranking, k=3)
    np.testing.assert_array_equal(lists.indices, order[:, :3])
    assert result.mAP > evaluate(query, gallery, *pids, protocol=all_pairs).mAP


def test_torch_half_precision_and_float64_are_taken():
    query, gallery, *_ = people()
    expected = k_reciprocal(query.astype(np.float16), gallery).distances(0, 40)
    found = k_reciprocal(torch.from_numpy(query).half(), torch.from_numpy(gallery).double()).distances(0, 40)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_re_ranking_of_other_features_is_refused():
    query, gallery, *pids = people()
    with pytest.raises(ValueError, match=r"reranking is of \(39, 160\).*the features are \(40, 160\)"):
        evaluate(query, gallery, *pids, protocol=all_pairs, reranking=k_reciprocal(query[1:], gallery))


@pytest.mark.parametrize("settings", [{"k1": 200}, {"k2": 0}, {"k1": 3, "k2": 5}, {"weight": 1.1}])
def test_bad_settings_are_named(settings):
    with pytest.raises(ValueError, match="k1=.*k2=.*weight="):
        k_reciprocal(*people()[:2], **settings)


def test_bad_features_are_named():
    query, gallery, *_ = people()
    gallery[3] = 0
    with pytest.raises(ValueError, match="gallery_features: row 3 is all zero"):
        k_reciprocal(query, gallery)


def test_how_much_is_gathered_or_made_at_a_time_changes_no_distance(monkeypatch):
    query, gallery, *pids = people()
    whole = k_reciprocal(query, gallery)
    expected = evaluate(query, gallery, *pids, protocol=all_pairs, reranking=whole)
    monkeypatch.setattr("reid_eval.rerank.GATHER_BYTES", 200)  # 4 pairs of 12 numbers
    monkeypatch.setattr("reid_eval.scores.MADE_BYTES", 200)
    monkeypatch.setattr("reid_eval.scores.BLOCK_QUERIES", 7)
    pieces = k_reciprocal(query, gallery)
    np.testing.assert_array_equal(pieces.distances(0, 40), whole.distances(0, 40))
    found = evaluate(query, gallery, *pids, protocol=all_pairs, reranking=pieces)
    np.testing.assert_array_equal(found.ap, expected.ap)
