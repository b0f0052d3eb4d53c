"""Scores against known identities, and the sweep over criteria."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from reid_denoise import Criteria, denoise, score, sweep
from reid_denoise.figures import sweep_figure


@settings(max_examples=50)
@given(labels=st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 4)), min_size=1, max_size=25))
def test_scores_count_pairs_and_discarded_images_are_alone(labels: list[tuple[int, int]]) -> None:
    pairs = list(combinations(labels, 2))
    found = [a[0] == b[0] != -1 for a, b in pairs]
    known = [a[1] == b[1] for a, b in pairs]
    right = sum(f and k for f, k in zip(found, known, strict=True))
    scores = score([a for a, _ in labels], [b for _, b in labels])
    assert scores.precision == pytest.approx(right / sum(found) if sum(found) else 1)
    assert scores.recall == pytest.approx(right / sum(known) if sum(known) else 1)
    renamed = [100 + i if a == -1 else a for i, (a, _) in enumerate(labels)]
    assert scores.ari == pytest.approx(adjusted_rand_score([b for _, b in labels], renamed))


def test_images_without_a_known_identity_do_not_count() -> None:
    assert score([0, 0, 0], [1, 1, -1]).f1 == 1
    with pytest.raises(ValueError, match="no image has a known identity"):
        score([0], [-1])


def world() -> dict[str, Any]:
    rng = np.random.default_rng(5)
    tracklets = np.arange(160) // 8
    truth = np.where(rng.random(160) < 0.1, rng.integers(0, 5, 160), tracklets % 5)
    features = rng.normal(size=(5, 16))[truth] + 0.3 * rng.normal(size=(160, 16))
    return {
        "features": features,
        "tracklets": tracklets,
        "videos": tracklets // 4,
        "valid": None,
        "truth": truth,
    }


def test_a_sweep_has_a_row_for_each_combination_as_denoise_alone_gives_it() -> None:
    data = world()
    table = sweep(**data, consistency=[0.1, 0.3], discrimination=[0.05, 0.2], half_range=[1, 100])
    assert len(table) == 8
    assert not table[["consistency", "discrimination", "half_range"]].duplicated().any()
    truth = data.pop("truth")
    row = table.query("consistency == 0.3 and discrimination == 0.2 and half_range == 100").iloc[0]
    result = denoise(**data, criteria=Criteria(0.3, 0.2, 100))
    assert row["identities"] == result.identity.max() + 1
    assert row["kept"] == (result.identity >= 0).mean()
    assert row[["precision", "recall", "f1", "ari"]].tolist() == list(score(result.identity, truth))


def test_criteria_are_checked_before_the_first_run() -> None:
    data = {**world(), "features": None}
    with pytest.raises(ValueError, match="discrimination=9"):
        sweep(**data, discrimination=[0.1, 9])


def test_the_figure_has_a_panel_for_each_criterion_that_varied() -> None:
    table = sweep(**world(), consistency=[0.1, 0.3], discrimination=[0.18], half_range=[1, 10, 100])
    figure = sweep_figure(table)
    assert [axes.get_xlabel().split("\n")[0] for axes in figure.axes] == [
        r"$\sigma_\mathrm{cst}$",
        "$r_s$ (tracklets)",
    ]
    best = table.loc[table["f1"].idxmax()]
    drawn = {line.get_label(): line.get_ydata() for line in figure.axes[0].get_lines()}
    assert best["f1"] == max(drawn["F1"])
    with pytest.raises(ValueError, match="one combination"):
        sweep_figure(table[:1])
