"""FNIR at FPIR and the calibration error equal direct transcriptions of their equations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid_eval import calibration_error, fnir_at_fpir

SCORES = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=12)


@given(pairs=st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=1), others=SCORES)
@pytest.mark.parametrize("fpir", [0.0, 0.1, 0.5, 1.0])
def test_fnir_at_fpir_is_what_counting_gives(pairs, others, fpir):
    right, wrong = np.array(pairs, dtype=float).T
    found = fnir_at_fpir(right, wrong, others, fpir)
    candidates = sorted({-np.inf, np.inf, *(np.nextafter(score, np.inf) for score in others)})
    threshold = next(t for t in candidates if sum(s >= t for s in others) <= fpir * len(others))
    assert found.threshold == threshold
    assert found.fpir == sum(score >= threshold for score in others) / len(others) <= fpir
    misses = [mate < threshold or mate < first for mate, first in pairs]
    assert found.fnir == pytest.approx(sum(misses) / len(misses))


def test_a_search_without_a_right_answer_is_a_miss_at_any_threshold():
    assert fnir_at_fpir([-np.inf, 0.9], [-np.inf, 0.1], [0.5], 1.0).fnir == 0.5


@given(cases=st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.floats(0.1, 3)), min_size=1))
def test_the_calibration_error_is_the_published_sum(cases):
    total, error, bins = sum(weight for *_, weight in cases), 0.0, 5
    for number in range(bins):
        inside = [case for case in cases if min(int(case[0] * bins), bins - 1) == number]
        if weight := sum(case[2] for case in inside):
            accuracy = sum(same * part for _, same, part in inside) / weight
            confidence = sum(chance * part for chance, _, part in inside) / weight
            error += weight / total * abs(accuracy - confidence)
    assert calibration_error(*zip(*cases, strict=True), bins=bins) == pytest.approx(error)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [], [0.1], 0.1), "at least one"),
        (([np.nan], [0], [0.1], 0.1), "NaN"),
        (([1], [0], [0], 2), "fpir"),
    ],
)
def test_impossible_searches_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        fnir_at_fpir(*arguments)


@pytest.mark.parametrize("chance", [[1.1], [np.nan], []])
def test_what_is_no_probability_is_refused(chance):
    with pytest.raises(ValueError, match="probabilit"):
        calibration_error(chance, [True] * len(chance))
