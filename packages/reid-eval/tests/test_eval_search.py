"""Search with faiss: exact over pieces of the gallery, approximate over an inverted file on disk."""

import numpy as np
import pytest

import reid_eval.search
from reid_eval import build_index, exact_search, index_search


def features(seed=0, queries=12, gallery=400, dim=8):
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(size=(size, dim)).astype(np.float32) for size in (queries, gallery))


def scores(query, gallery, metric):
    if metric == "euclidean":
        return -((query[:, None] - gallery[None]) ** 2).sum(-1)
    return query @ gallery.T / np.outer(np.linalg.norm(query, axis=1), np.linalg.norm(gallery, axis=1))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_exact_search_over_pieces_equals_sorting(monkeypatch, metric):
    monkeypatch.setattr(reid_eval.search, "CHUNK_ROWS", 37)
    query, gallery = features()
    every = scores(query, gallery, metric)
    order = np.argsort(-every, axis=1)[:, :50]
    found = exact_search(query, gallery, 50, metric)
    np.testing.assert_array_equal(found.indices, order)
    np.testing.assert_allclose(found.scores, np.take_along_axis(every, order, axis=1), atol=1e-5)


def test_a_half_precision_gallery_is_read_from_disk(tmp_path):
    query, gallery = features()
    np.save(tmp_path / "gallery.npy", gallery.astype(np.float16))
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    expected = exact_search(query, gallery.astype(np.float16).astype(np.float32), 5)
    np.testing.assert_array_equal(exact_search(query, mapped, 5).indices, expected.indices)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_an_inverted_file_that_is_searched_whole_finds_what_exact_search_finds(tmp_path, metric):
    query, gallery = features()
    gallery = gallery.astype(np.float16).astype(np.float32)
    path = build_index(gallery, tmp_path / "new" / "gallery.ivf", lists=5, metric=metric)
    found = index_search(query, path, 3, metric, probes=5)
    exact = exact_search(query, gallery, 3, metric)
    assert (found.indices == exact.indices).mean() > 0.95  # rounding to half precision may swap near ties
    np.testing.assert_allclose(found.scores, exact.scores, atol=0.02)
    assert [file.name for file in path.parent.iterdir()] == ["gallery.ivf"]


def test_fewer_probes_find_fewer_of_the_nearest(tmp_path):
    query, gallery = features(gallery=2000)
    path = build_index(gallery, tmp_path / "gallery.ivf", lists=20)
    exact = exact_search(query, gallery, 10).indices

    def recall(probes):
        found = index_search(query, path, 10, probes=probes).indices
        return np.mean([np.isin(row, truth).mean() for row, truth in zip(found, exact, strict=True)])

    assert recall(1) < recall(5) <= recall(20)


def test_bad_calls_are_named(tmp_path):
    query, gallery = features()
    path = build_index(gallery, tmp_path / "gallery.ivf", lists=4)
    with pytest.raises(ValueError, match="k must be from 1 to the gallery's 400 rows, got 401"):
        exact_search(query, gallery, 401)
    with pytest.raises(ValueError, match="lists must be from 1 to the gallery's 400 rows"):
        build_index(gallery, path, lists=0)
    with pytest.raises(ValueError, match="has 8 columns, and query_features 5"):
        index_search(query[:, :5], path, 1)
    with pytest.raises(ValueError, match="not of metric='euclidean'"):
        index_search(query, path, 1, "euclidean")
    with pytest.raises(ValueError, match="k and probes must be at least 1"):
        index_search(query, path, 1, probes=0)
    query[4, 2] = np.nan
    with pytest.raises(ValueError, match="query_features: row 4 holds NaN"):
        index_search(query, path, 1)
