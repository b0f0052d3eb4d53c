"""evaluate() against the standard evaluation, written down directly, and its answers to bad input."""

import json

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reid_eval.scores
from reid_eval import Result, build_index, evaluate, index_search, k_reciprocal, rank
from reid_eval.inputs import check_inputs
from reid_eval.protocols import all_pairs, cross_camera

pytestmark = pytest.mark.filterwarnings("ignore:.*enter no mean")  # random cases; tested by name below


def trapezoid(matches):
    """compute_AP.m of Market-1501."""
    old_recall, old_precision, ap, found = 0.0, 1.0, 0.0, 0
    for place, match in enumerate(matches):
        found += match
        recall, precision = found / matches.sum(), found / (place + 1)
        ap += (recall - old_recall) * (old_precision + precision) / 2
        old_recall, old_precision = recall, precision
    return ap


def standard_evaluation(distances, q_pids, g_pids, q_camids, g_camids, max_rank, trapezoids=False):
    """Market-1501's evaluation as everybody writes it: argsort each row, drop, cumulate."""
    cmcs, aps, inps = [], [], []
    for row in range(len(distances)):
        order = np.argsort(distances[row], kind="stable")
        keep = ~(
            ((g_pids[order] == q_pids[row]) & (g_camids[order] == q_camids[row])) | (g_pids[order] == -1)
        )
        matches = (g_pids[order] == q_pids[row])[keep].astype(float)
        if not matches.any():
            continue
        cmc = np.minimum(matches.cumsum(), 1)
        cmcs.append(np.concatenate([cmc, np.ones(max_rank)])[:max_rank])
        precision = matches.cumsum() / (np.arange(len(matches)) + 1.0)
        aps.append(trapezoid(matches) if trapezoids else (precision * matches).sum() / matches.sum())
        inps.append(matches.sum() / (np.flatnonzero(matches)[-1] + 1.0))
    return (np.mean(cmcs, axis=0), np.mean(aps), np.mean(inps), len(cmcs)) if cmcs else None


@st.composite
def cases(draw):
    """Few people and cameras: ties, junk (-1), distractors (0), queries without a match, one camera."""
    queries, gallery = draw(st.integers(1, 6)), draw(st.integers(1, 24))
    cameras, people = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return {
        "query": rng.choice([-1.0, 1.0], (queries, 4)),
        "gallery": rng.choice([-1.0, 1.0], (gallery, 4)),
        "q_pids": rng.integers(1, people + 1, queries),
        "g_pids": rng.integers(-1, people + 1, gallery),
        "q_camids": rng.integers(0, cameras, queries),
        "g_camids": rng.integers(0, cameras, gallery),
    }


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@settings(max_examples=200, deadline=None)
@given(case=cases())
def test_equals_the_standard_evaluation_with_ties(metric, case):
    # Entries of +-1 in four dimensions have norm 2: cosines and distances are exact, and so are ties.
    query, gallery = case["query"], case["gallery"]
    distances = -query @ gallery.T if metric == "cosine" else ((query[:, None] - gallery[None]) ** 2).sum(-1)
    ids = (case["q_pids"], case["g_pids"], case["q_camids"], case["g_camids"])
    expected = standard_evaluation(distances, *ids, max_rank=len(gallery))
    if expected is None:
        with pytest.raises(ValueError, match="no valid query"):
            evaluate(query, gallery, *ids, metric=metric)
        return
    result = evaluate(query, gallery, *ids, metric=metric)
    np.testing.assert_allclose(result.cmc_curve, expected[0], atol=1e-9)
    assert (result.mAP, result.mINP) == pytest.approx(expected[1:3], abs=1e-9)
    assert result.num_valid_queries == expected[3] == len(result.ap)
    drawn = evaluate(query, gallery, *ids, metric=metric, average_precision="trapezoid").mAP
    assert drawn == pytest.approx(standard_evaluation(distances, *ids, len(gallery), True)[1], abs=1e-9)


def random_case(seed=0, queries=20, gallery=90, dim=8):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(queries, dim)),
        rng.normal(size=(gallery, dim)),
        rng.integers(1, 8, queries),
        rng.integers(-1, 8, gallery),
        rng.integers(0, 3, queries),
        rng.integers(0, 3, gallery),
    )


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_equals_the_standard_evaluation_on_real_valued_features(metric):
    query, gallery, *ids = random_case()
    if metric == "cosine":
        distances = 1 - (query @ gallery.T) / np.outer(
            np.linalg.norm(query, axis=1), np.linalg.norm(gallery, axis=1)
        )
    else:
        distances = np.linalg.norm(query[:, None] - gallery[None], axis=-1)
    curve, mean_ap, mean_inp, valid = standard_evaluation(distances, *ids, max_rank=90)
    result = evaluate(query, gallery, *ids, metric=metric)
    np.testing.assert_allclose(result.cmc_curve, curve, atol=1e-9)
    assert (result.mAP, result.mINP, result.num_valid_queries) == pytest.approx(
        (mean_ap, mean_inp, valid), abs=1e-9
    )


def retrieval(*case):
    return check_inputs(*case, "cosine", cross_camera, None, None, None, None, "cpu")


def test_tiles_do_not_change_the_result(monkeypatch):
    whole = evaluate(*random_case())
    monkeypatch.setattr(reid_eval.scores, "BLOCK_BYTES", {"cpu": 90 * 8 * 3})
    monkeypatch.setattr(reid_eval.scores, "BLOCK_QUERIES", 1)
    monkeypatch.setattr(reid_eval.scores, "TILE_PAIRS", {"cpu": 2 * 90})
    monkeypatch.setattr(reid_eval.scores, "TILE_ROWS", 7)
    tiled = evaluate(*random_case())
    np.testing.assert_allclose(tiled.ap, whole.ap, atol=1e-12)


def test_memory_stays_below_the_full_matrix(monkeypatch):
    monkeypatch.setattr(reid_eval.scores, "BLOCK_BYTES", {"cpu": 90 * 8 * 3})
    monkeypatch.setattr(reid_eval.scores, "BLOCK_QUERIES", 1)
    shapes = [tile.scores.shape for tile in reid_eval.scores.tiles(retrieval(*random_case()))]
    assert shapes == [(3, 90)] * 6 + [(2, 90)]


def test_torch_numpy_half_and_memory_mapped_features_agree(tmp_path):
    query, gallery, *ids = random_case()
    query, gallery = query.astype(np.float16), gallery.astype(np.float16)
    np.save(tmp_path / "gallery.npy", gallery)
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    expected = evaluate(query, gallery, *ids).ap
    np.testing.assert_array_equal(evaluate(query, mapped, *ids).ap, expected)
    tensors = [torch.from_numpy(value) for value in (query, gallery, *ids)]
    np.testing.assert_array_equal(evaluate(*tensors).ap, expected)


def test_scaling_features_changes_no_cosine_result():
    query, gallery, *ids = random_case()
    scales = np.random.default_rng(1).uniform(0.1, 10, (90, 1))
    np.testing.assert_allclose(evaluate(query, gallery * scales, *ids).ap, evaluate(query, gallery, *ids).ap)


def test_perfect_features_score_one_everywhere():
    features = np.eye(5)
    pids = np.arange(5)
    result = evaluate(features, features, pids, pids, np.zeros(5, int), np.ones(5, int))
    assert result.mAP == result.mINP == result.cmc[1] == result.cmc[20] == 1.0


def test_a_query_without_a_match_is_not_valid_and_has_no_ap():
    features = np.eye(3)
    result = evaluate(features, features, [1, 2, 3], [1, 2, 9], [0, 0, 0], [1, 0, 1])
    assert result.num_valid_queries == len(result.ap) == 1
    np.testing.assert_array_equal(result.valid_queries, [0])


@pytest.mark.faults
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("row", [np.full(8, 0.1), np.eye(8)[0]], ids=["rounded", "exact"])
def test_re_ranking_identical_features_gives_no_more_than_a_hundred_per_cent(row, metric):
    _, _, *ids = random_case()
    same = np.tile(row, (20, 1)), np.tile(row, (90, 1))
    reranking = k_reciprocal(*same, metric, k1=5, k2=2)
    assert np.isfinite(reranking.distances(0, 20)).all()
    result = evaluate(*same, *ids, metric, reranking=reranking, far=(0.1,))
    assert 0 < result.mAP < 1 and result.first_ranks.min() >= 1


@pytest.mark.faults
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_without_an_order_are_refused_whatever_gave_them(value):
    case = random_case()
    reranking = k_reciprocal(*case[:2], k1=5, k2=2)
    reranking.norms[20 + 7] = value
    for function in (evaluate, rank):
        with pytest.raises(
            ValueError, match=f"query 0, gallery row 7: the score is {-value:g}, which has no"
        ):
            function(*case, reranking=reranking)


@pytest.mark.faults
def test_a_search_index_with_scores_without_an_order_is_refused(tmp_path):
    query, gallery, *_ = random_case()
    file = build_index(gallery, tmp_path / "g.index", lists=1)
    index = faiss.read_index(str(file))
    index.add(np.float32([[np.inf, *np.zeros(7)]]))
    faiss.write_index(index, str(file))
    with pytest.raises(ValueError, match="query 0, gallery row 90: the score is inf"):
        index_search(np.abs(query), file, k=3)


@pytest.mark.faults
def test_a_warning_names_up_to_five_queries_that_enter_no_mean_and_says_why():
    pids, camids = np.array([1, 2, 3, -1, 4, 5, 6, 7]), np.zeros(8, int)
    others, cameras = np.array([1, 2, 2, -1, 4]), np.array([1, 0, 0, 1, 0])
    items = {
        "query_columns": {"item": [0, 1, 2, 3, 4, 5, 6, 7]},
        "gallery_columns": {"item": [8, 9, 9, 3, 4]},
    }
    with pytest.warns(UserWarning) as caught:
        evaluate(np.eye(8), np.eye(8)[:5], pids, others, camids, cameras, **items)
    assert str(caught[0].message).startswith(
        "7 of 8 queries have no right answer and enter no mean: "
        "query 1 shares camera 0 with every gallery row of its person 2; "
        "query 2 has no gallery row of its person 3; query 3 is junk (pid -1); "
        "query 4 shares camera 0 with every gallery row of its person 4; "
        "query 5 has no gallery row of its person 5; and others: check"
    )
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"protocol": lambda query, gallery: query["pid"][:, None] * 0 > gallery["pid"]},
            "none of its person",
        ),
        (
            {"protocol": all_pairs, "query_columns": {"item": [0]}, "gallery_columns": {"item": [0, 1]}},
            "query 0 is itself the only gallery row of its person 7",
        ),
        (
            {"protocol": all_pairs, "gallery_valid": [False, True], "unreadable": "leave_out"},
            "query 0 meets no gallery row of its person 7 that holds a feature",
        ),
    ],
)
def test_the_reasons_of_an_evaluation_without_a_valid_query_are_told(options, message):
    with pytest.raises(ValueError, match=f"no valid query: .*{message}"):
        evaluate(np.eye(2)[:1], np.eye(2), [7], [7, 8], [0], [1, 1], **options)


def test_no_warning_where_every_query_has_a_right_answer(recwarn):
    evaluate(np.eye(2), np.eye(2), [1, 2], [1, 2], [0, 0], [1, 1])
    assert not recwarn.list


def test_summary_is_flat_and_named_for_trackers():
    names = ["mAP", "mINP", "rank_1", "rank_5", "num_valid_queries", "num_queries", "num_gallery"]
    names += ["num_unreadable_queries", "num_unreadable_gallery"]
    assert list(evaluate(*random_case(), ranks=(1, 5)).summary()) == [*names, "metric", "protocol"]


def test_a_result_survives_json():
    result = evaluate(*random_case())
    again = Result.from_dict(json.loads(json.dumps(result.to_dict())))
    assert again.to_dict() == result.to_dict()
    np.testing.assert_array_equal(again.cmc_curve, result.cmc_curve)


def test_something_else_than_a_result_is_refused():
    with pytest.raises(ValueError, match="no saved result: 'roc' is missing"):
        Result.from_dict({"mAP": 0.5})


def broken(position, value):
    case = list(random_case())
    case[position] = value(case[position])
    return case


def with_row(row, value):
    def change(features):
        features[row] = value
        return features

    return change


@pytest.mark.parametrize(
    ("case", "error", "message"),
    [
        (broken(0, with_row(3, np.nan)), ValueError, "query_features: row 3 holds NaN"),
        (broken(1, with_row(8, np.inf)), ValueError, "gallery_features: row 8 holds infinite"),
        (broken(1, with_row(5, 1e200)), ValueError, "gallery_features: row 5 holds overflowing"),
        (broken(1, with_row(5, 0.0)), ValueError, "gallery_features: row 5 is all zero"),
        (
            broken(2, lambda pids: pids[:-1]),
            ValueError,
            "query_pids has 19 entries but query_features has 20 rows",
        ),
        (broken(5, lambda ids: ids[:-2]), ValueError, "gallery_camids has 88 entries .* row 88 is the first"),
        (
            broken(3, lambda pids: pids.astype(np.uint64) + np.uint64(2**63)),
            ValueError,
            "gallery_pids: row 0 is .*; expected an integer of 64 bits",
        ),
        (broken(3, lambda pids: pids.astype(float)), TypeError, "gallery_pids must be integers, got float64"),
        (broken(2, lambda pids: pids + 100), ValueError, "no valid query"),
        (
            broken(0, lambda features: features[:, :5]),
            ValueError,
            "query_features has 5 columns but gallery_features 8",
        ),
        (
            broken(0, lambda features: features[0]),
            ValueError,
            r"query_features must be a non-empty \[n d\] array",
        ),
        (broken(0, lambda features: features.astype(int)), TypeError, "query_features must be float"),
        (
            broken(1, lambda features: features.tolist()),
            TypeError,
            "gallery_features must be a NumPy or torch array",
        ),
    ],
)
def test_bad_input_is_named(case, error, message):
    with pytest.raises(error, match=message):
        evaluate(*case)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "hamming"}, "metric must be one of"),
        ({"ranks": (0, 1)}, "ranks must be whole numbers from 1"),
        ({"average_precision": "half"}, "average_precision must be one of"),
        ({"device": "cuda:99"}, r"device=cuda:99, but torch sees \d GPUs here: give cpu"),
        (
            {"query_columns": {"clothes": np.zeros(20, int)}},
            r"\['pid', 'camid', 'clothes'\] and \['pid', 'camid'\]",
        ),
        (
            {
                name: {"clothes": np.zeros(size)}
                for name, size in (("query_columns", 20), ("gallery_columns", 90))
            },
            r"query_columns\['clothes'\] must be integers or text, got float64",
        ),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        evaluate(*random_case(), **options)


def test_zero_rows_are_fine_for_euclidean():
    case = broken(1, with_row(5, 0.0))
    assert 0 <= evaluate(*case, metric="euclidean").mAP <= 1
