"""rank() lists what evaluate() ranks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_eval import evaluate, rank
from reid_eval.counting import match_ranks
from reid_eval.ranking import first_rows


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([-np.inf, 0.0, 0.5, 1.0]), min_size=1, max_size=20), st.integers(1, 25))
def test_first_rows_are_those_of_a_stable_argsort(values, k):
    scores = np.array(values)
    order = np.argsort(-scores, kind="stable")
    np.testing.assert_array_equal(first_rows(scores, k), order[scores[order] > -np.inf][:k])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=20), st.data())
def test_match_ranks_are_those_of_a_stable_argsort(values, data):
    scores = np.array([values, values[::-1]])
    pairs = data.draw(st.sets(st.tuples(st.integers(0, 1), st.integers(0, len(values) - 1)), min_size=1))
    rows, cols = np.array(sorted(pairs)).T
    order = np.argsort(-scores, axis=1, kind="stable")
    expected = [1 + np.flatnonzero(order[row] == col)[0] for row, col in zip(rows, cols, strict=True)]
    found = match_ranks(*(torch.from_numpy(array) for array in (scores, rows, cols)))
    np.testing.assert_array_equal(found, expected)


def test_junk_and_own_camera_never_appear_and_short_lists_end_in_minus_one():
    features = np.eye(4)
    lists = rank(features[:1], features, [1], [1, -1, 1, 2], [0], [0, 1, 1, 0], k=3)
    np.testing.assert_array_equal(lists.indices, [[2, 3, -1]])
    np.testing.assert_array_equal(lists.correct, [[True, False, False]])


def test_first_answers_right_is_rank_one():
    rng = np.random.default_rng(0)
    case = (
        rng.normal(size=(30, 4)),
        rng.normal(size=(50, 4)),
        rng.integers(1, 4, 30),
        rng.integers(1, 4, 50),
    )
    cameras = (np.zeros(30, int), np.ones(50, int))
    assert rank(*case, *cameras, k=1).correct.mean() == pytest.approx(evaluate(*case, *cameras).cmc[1])


def test_k_below_one_is_an_error():
    with pytest.raises(ValueError, match="k must be at least 1"):
        rank(np.eye(2), np.eye(2), [1, 2], [1, 2], [0, 0], [1, 1], k=0)
