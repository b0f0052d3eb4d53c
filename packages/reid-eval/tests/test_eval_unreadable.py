"""Rows without a feature: they count as misses or enter nothing, are never found, and are counted."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_eval import Result, build_index, evaluate, exact_search, index_search, k_reciprocal, rank
from reid_eval.comparison import compare_results
from reid_eval.figures import sample_identities, tsne, tsne_figure
from reid_eval.protocols import all_pairs
from reid_eval.report import extreme_queries, write_report
from reid_eval.report_tables import unreadable_lines

pytestmark = pytest.mark.faults

FAR = (0.05, 0.3)


def people(seed=0, queries=12, gallery=40):
    """Features, pids and camids; every query has right answers before other cameras."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(5, 6))
    pids = np.concatenate([np.arange(queries) % 5, np.arange(gallery) % 5])
    camids = np.concatenate([np.zeros(queries, int), 1 + np.arange(gallery) // 5 % 2])
    features = centres[pids] + 0.8 * rng.normal(size=(queries + gallery, 6))
    return [part for rows in (features, pids, camids) for part in (rows[:queries], rows[queries:])]


def masked(seed=0, fill=np.nan):
    """A case in which three queries and seven gallery rows hold nothing but `fill`, and its masks."""
    case = people(seed)
    masks = {"query_valid": np.ones(12, bool), "gallery_valid": np.ones(40, bool)}
    masks["query_valid"][[0, 4, 11]] = False
    masks["gallery_valid"][[1, 2, 8, 20, 21, 30, 39]] = False
    for side, mask in zip(case[:2], masks.values(), strict=True):
        side[~mask] = fill
    return case, masks


def readable(case, masks):
    query, gallery = masks.values()
    return [rows[(gallery if number % 2 else query)] for number, rows in enumerate(case)]


def test_an_unreadable_query_has_average_precision_zero_and_no_rank():
    case, masks = masked()
    result = evaluate(*case, **masks, far=FAR)
    assert result.num_valid_queries == result.num_queries == 12
    unread = ~masks["query_valid"]
    assert (result.ap[unread] == 0).all() and (result.inp[unread] == 0).all()
    assert (result.first_ranks[unread] == 0).all() and (result.first_ranks[~unread] > 0).all()
    assert result.cmc_curve[-1] == pytest.approx(9 / 12)
    assert max(result.cmc.values()) <= 9 / 12 and result.mAP == pytest.approx(result.ap.mean())


def test_an_unreadable_right_answer_counts_in_the_recall_and_is_never_found():
    features, pids = np.eye(3), [7, 8, 9]
    gallery, answers = np.eye(3)[[0, 1, 0]], [7, 8, 7]
    case = features[:1], gallery, pids[:1], answers
    result = evaluate(*case, protocol=all_pairs, gallery_valid=[True, True, False])
    assert (result.mAP, result.mINP, result.cmc[1]) == (0.5, 0.0, 1.0)
    drawn = evaluate(
        *case, protocol=all_pairs, gallery_valid=[True, True, False], average_precision="trapezoid"
    )
    assert drawn.mAP == 0.5
    nothing = evaluate(*case, protocol=all_pairs, gallery_valid=[False, True, False])
    assert (nothing.mAP, nothing.cmc[20], nothing.num_valid_queries) == (0.0, 0.0, 1)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@settings(max_examples=10)
@given(seed=st.integers(0, 2**16), fill=st.sampled_from([0.0, 1.0, np.nan, np.inf, 1e300]))
def test_left_out_the_result_is_that_of_the_readable_rows(metric, seed, fill):
    case, masks = masked(seed, fill)
    options = {"metric": metric, "far": FAR, "unreadable": "leave_out"}
    with pytest.warns(UserWarning, match="query 0 holds no feature"):
        result = evaluate(*case, **masks, **options)
    expected = evaluate(*readable(case, masks), **options)
    np.testing.assert_array_equal(result.ap, expected.ap)
    np.testing.assert_array_equal(result.first_ranks, expected.first_ranks)
    assert (result.tar, result.cmc) == (expected.tar, expected.cmc)
    np.testing.assert_array_equal(result.valid_queries, np.flatnonzero(masks["query_valid"]))


def test_as_misses_genuine_pairs_are_rejected_at_every_threshold():
    case, masks = masked()
    counted, left = evaluate(*case, **masks, far=FAR), evaluate(*readable(case, masks), far=FAR)
    genuine = (case[2][:, None] == case[3]).sum()
    scored = (case[2][masks["query_valid"], None] == case[3][masks["gallery_valid"]]).sum()
    for rate in FAR:
        assert counted.tar[rate] == pytest.approx(left.tar[rate] * scored / genuine)
    assert counted.roc.tar[-1] == pytest.approx(scored / genuine) and counted.roc.far[-1] == 1


@pytest.mark.parametrize("fill", [np.nan, 1.0])
def test_ranked_gives_an_unreadable_query_no_answer_and_no_query_an_unreadable_row(fill):
    case, masks = masked(fill=fill)
    found = rank(*case, **masks, k=40)
    assert (found.indices[~masks["query_valid"]] == -1).all() and not found.correct[
        ~masks["query_valid"]
    ].any()
    assert not np.isin(found.indices, np.flatnonzero(~masks["gallery_valid"])).any()
    assert (found.indices[masks["query_valid"]] >= 0).sum() == 9 * 33


def test_re_ranking_is_that_of_the_readable_rows():
    case, masks = masked()
    few = {"k1": 5, "k2": 2}
    query, gallery, *_ = readable(case, masks)
    expected = k_reciprocal(query, gallery, **few).distances(0, 9)
    reranking = k_reciprocal(*case[:2], **few, **masks)
    found = reranking.distances(0, 12)
    np.testing.assert_array_equal(found[np.ix_(*masks.values())], expected)
    assert np.isinf(found[~masks["query_valid"]]).all() and np.isinf(found[:, ~masks["gallery_valid"]]).all()
    np.testing.assert_array_equal(reranking.distances(3, 6), found[3:6])
    result = evaluate(*case, **masks, reranking=reranking)
    assert (result.first_ranks > 0).tolist() == masks["query_valid"].tolist()


def test_re_ranking_by_other_masks_is_refused():
    case, masks = masked(fill=1.0)
    reranking = k_reciprocal(*case[:2], k1=5, k2=2, query_valid=masks["query_valid"])
    with pytest.raises(ValueError, match="gallery_valid: row 1 was marked otherwise"):
        evaluate(*case, **masks, reranking=reranking)


def test_search_never_finds_an_unreadable_row_and_answers_no_unreadable_query(monkeypatch, tmp_path):
    monkeypatch.setattr("reid_eval.search.CHUNK_ROWS", 2)
    case, masks = masked()
    rows = np.flatnonzero(masks["gallery_valid"])
    expected = exact_search(*readable(case, masks)[:2], k=5)
    file = build_index(case[1], tmp_path / "g.index", lists=1, gallery_valid=masks["gallery_valid"])
    for found in (
        exact_search(*case[:2], k=5, **masks),
        index_search(case[0], file, k=5, query_valid=masks["query_valid"]),
    ):
        np.testing.assert_array_equal(found.indices[masks["query_valid"]], rows[expected.indices])
        assert (found.indices[~masks["query_valid"]] == -1).all()
        assert np.isneginf(found.scores[~masks["query_valid"]]).all()
    every = exact_search(*case[:2], k=40, **masks)
    assert (every.indices[1, 33:] == -1).all() and (every.indices[1, :33] >= 0).all()


def test_t_sne_gives_an_unreadable_row_no_place():
    valid = np.arange(8) != 3
    features = np.vstack([np.eye(7), np.zeros(7)])[[0, 1, 2, 7, 3, 4, 5, 6]]
    places = tsne(features, valid=valid)
    assert np.isnan(places[3]).all() and np.isfinite(places[valid]).all()
    np.testing.assert_array_equal(places[valid], tsne(np.eye(7)))
    figure = tsne_figure({"ours": features}, [1, 1, 2, 3, 2, 1, 2, 2], valid=valid)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["1", "2"]
    assert sample_identities([1, 1, 2, 2], 2, 2, valid=[True, False, True, True]).tolist() == [0, 2, 3]


def test_counts_are_in_the_result_and_survive_json(tmp_path):
    case, masks = masked()
    result = evaluate(*case, **masks)
    summary = result.summary()
    assert (summary["num_unreadable_queries"], summary["num_unreadable_gallery"]) == (3, 7)
    again = Result.from_dict(json.loads(json.dumps(result.to_dict())))
    assert again.to_dict() == result.to_dict()
    assert again.unreadable_queries.tolist() == [0, 4, 11] and again.unreadable == "miss"
    rows = compare_results(result, again, paired=True)
    assert {row.metric: row.first.value for row in rows}["rank_1"] == pytest.approx(result.cmc[1])


def test_the_report_says_how_many_rows_are_unreadable(tmp_path):
    case, masks = masked()
    result = evaluate(*case, **masks)
    page = write_report(tmp_path / "r.html", {"image": result}).read_text()
    assert "3 of 12 queries hold no feature and count as misses: 0, 4, 11." in page
    assert "7 of 40 gallery rows hold no feature and count as misses: 1, 2, 8, 20, 21, ..." in page
    assert 'data-metric="num_unreadable_gallery" data-value="7"' in page
    assert unreadable_lines(evaluate(*people())) == []


def test_the_worst_queries_are_ones_that_can_be_looked_at():
    case, masks = masked()
    worst, best = extreme_queries(evaluate(*case, **masks), count=12)
    assert sorted(worst) == sorted(best) == np.flatnonzero(masks["query_valid"]).tolist()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"query_valid": np.ones(12)}, TypeError, "query_valid must be boolean.*float64"),
        ({"gallery_valid": np.ones(12, bool)}, ValueError, r"gallery_valid has shape \(12,\).*40 rows"),
        ({"query_valid": torch.zeros(12, dtype=torch.bool)}, ValueError, "query_valid: none of the 12 rows"),
        ({"unreadable": "drop"}, ValueError, "unreadable must be one of"),
    ],
)
def test_bad_masks_are_named(options, error, message):
    with pytest.raises(error, match=message):
        evaluate(*people(), **options)
