"""`calibrate`: probabilities that come true, thresholds that keep their rates, and a file that is checked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reid_core.data import Manifest
from reid_core.models import Features
from reid_eval import calibration_error
from reid_gallery.calibrating import calibrate_features, describe
from reid_gallery.calibration import Calibration, Pairs, find_thresholds, fit_curve
from reid_gallery.cli import main
from reid_gallery.features import Made
from reid_gallery.pairs import all_pairs, open_set_searches, scores_between

MADE = Made("model", "0" * 64, {}, "cosine", 16, 0, 0)


def world(people: int, seed: int, cameras: int = 2, noise: float = 0.8) -> Features:
    """Unit features around one point per person, two rows per camera."""
    rng = np.random.default_rng(seed)
    pids = np.repeat(np.arange(1, people + 1), 2 * cameras)
    camids = np.tile(np.repeat(np.arange(1, cameras + 1), 2), people)
    centres = rng.normal(size=(people + 1, 16))
    array = centres[pids] + noise * rng.normal(size=(len(pids), 16))
    array = (array / np.linalg.norm(array, axis=1, keepdims=True)).astype(np.float32)
    paths = [f"{row}.jpg" for row in range(len(pids))]
    table = pd.DataFrame({"path": paths, "split": "gallery", "pid": pids, "camid": camids})
    return Features(array, Manifest(table, Path("/data")), np.ones(len(pids), dtype=bool))


@pytest.mark.parametrize("method", ["isotonic", "logistic"])
def test_probabilities_come_true_on_other_people(method: str) -> None:
    fitted = calibrate_features(world(150, 0), MADE, method, [0.01], [0.1])  # type: ignore[arg-type]
    pairs = all_pairs(world(150, 1), "cosine")
    weights = np.where(pairs.same, 1 / pairs.same.sum(), 1 / (~pairs.same).sum())
    assert calibration_error(fitted.probability(pairs.scores), pairs.same, weights) < 0.05
    prior = pairs.same.mean()
    assert calibration_error(fitted.probability(pairs.scores, prior), pairs.same) < 0.01


def test_thresholds_keep_their_rates_on_other_people_and_lie_in_their_intervals() -> None:
    fitted = calibrate_features(world(150, 0), MADE, "isotonic", [0.01, 0.001], [0.1])
    impostor = (pairs := all_pairs(world(150, 1), "cosine")).scores[~pairs.same]
    for one in fitted.thresholds:
        assert one.low <= one.threshold <= one.high
        assert one.far / 2 < (impostor >= one.threshold).mean() < 2 * one.far
    assert set(fitted.cameras) == {"1-2"}


def test_a_threshold_lets_at_most_its_share_of_impostors_pass() -> None:
    scores = np.repeat(np.arange(50.0), 40)
    pairs = Pairs(scores, np.arange(2000) % 40, 40 + np.arange(2000) % 40, np.zeros((2000, 2), int), 80)
    (found,) = find_thresholds(pairs, [0.1, 1e-4])
    assert (scores >= found.threshold).mean() == 0.1 and (
        scores >= np.nextafter(found.threshold, 0)
    ).mean() > 0.1


def test_pairs_of_people_and_not_of_rows_decide_how_wide_an_interval_is() -> None:
    few, many = world(40, 0, cameras=4, noise=0.3), world(160, 0, noise=0.3).take(np.arange(0, 640, 2))
    assert len(few.rows) == len(many.rows)
    wide, tight = (find_thresholds(all_pairs(some, "cosine"), [0.01])[0] for some in (few, many))
    assert wide.high - wide.low > tight.high - tight.low


def test_the_curve_rises_and_no_score_is_proof() -> None:
    rng = np.random.default_rng(0)
    for method in ("isotonic", "logistic"):
        scores, odds = fit_curve(rng.normal(1, 1, 300), rng.normal(0, 1, 900), method)  # type: ignore[arg-type]
        assert (np.diff(scores) >= 0).all() and (np.diff(odds) >= 0).all() and np.isfinite(odds).all()


@pytest.mark.parametrize("method", ["isotonic", "logistic"])
def test_pairs_that_a_score_separates_entirely_are_no_proof(method: str) -> None:
    scores, odds = fit_curve(np.linspace(0.8, 0.9, 20), np.linspace(0.1, 0.2, 50), method)  # type: ignore[arg-type]
    assert (np.diff(scores) >= 0).all()
    assert -np.log(101) - 1e-9 <= odds[0] < -3 and 3 < odds[-1] <= np.log(41) + 1e-9


def test_a_prior_moves_the_odds_by_its_own() -> None:
    fitted = calibrate_features(world(60, 0), MADE, "logistic", [0.01], [0.1])
    half, rare = fitted.probability(0.5), fitted.probability(0.5, 0.01)
    assert rare / (1 - rare) == pytest.approx(half / (1 - half) / 99)


def test_pairs_are_of_two_cameras_and_come_once() -> None:
    rows = world(3, 0)
    pairs = all_pairs(rows, "cosine")
    assert len(pairs.scores) == 6 * 6 and pairs.same.sum() == 3 * 4
    assert (pairs.cameras == (1, 2)).all()


def test_scores_of_both_metrics_are_what_the_definitions_say() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(3, 4)), rng.normal(size=(5, 4))
    np.testing.assert_allclose(scores_between(one, other, "cosine"), one @ other.T)
    distances = ((one[:, None] - other[None]) ** 2).sum(-1)
    np.testing.assert_allclose(scores_between(one, other, "euclidean"), -distances)


def test_half_of_the_people_are_not_in_the_gallery_that_is_searched() -> None:
    right, wrong, others, gallery = open_set_searches(world(20, 0, noise=0.05), "cosine")
    assert (len(right), len(wrong), len(others), gallery) == (10, 10, 40, 30)
    assert (right > wrong).all() and right.min() > others.max()


def test_it_is_saved_in_the_models_folder_and_read_again(
    people: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["embed", str(people), "--model", str(model), "--out", str(tmp_path / "f")]) == 0
    assert main(["calibrate", str(tmp_path / "f"), "--far", "[0.1]", "--fpir", "[0.5]"]) == 0
    assert "FAR 10.00% at" in capsys.readouterr().out
    found = Calibration.load(model / "calibration.json")
    (model / "calibration.json").unlink()
    assert found.people == 6 and list(describe(found))


@pytest.mark.parametrize("damage", ["{", "{}", '{"format_version": 2}', "[]"])
def test_a_damaged_file_is_named(damage: str, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(damage)
    with pytest.raises(ValueError, match=r"c\.json is no calibration"):
        Calibration.load(tmp_path / "c.json")


def test_what_is_saved_is_strict_json(tmp_path: Path) -> None:
    fitted = calibrate_features(world(60, 0), MADE, "isotonic", [0.01], [0.1])
    fitted.save(tmp_path / "c.json")
    json.loads((tmp_path / "c.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert Calibration.load(tmp_path / "c.json") == fitted


@pytest.mark.parametrize(("people", "cameras"), [(1, 2), (3, 1)])
def test_rows_without_both_kinds_of_pairs_are_refused(people: int, cameras: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        calibrate_features(world(people, 0, cameras), MADE, "isotonic", [0.01], [0.1])
