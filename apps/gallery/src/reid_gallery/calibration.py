"""From a score to the probability of the same person, and to thresholds: fitted on pairs of labeled rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from reid_core.files import write_atomically

Method = Literal["logistic", "isotonic"]
FORMAT_VERSION = 1
KNOTS = 512
"""Points of an isotonic curve that are kept."""
RESAMPLES = 200
"""Bootstrap resamples of people."""
LEVEL = 0.95
"""Of the intervals."""
LEAST_IMPOSTORS = 10
"""Impostor pairs that a threshold must let pass, at least, for its rate to be measured."""
HIGHEST = 5
"""A resample looks at the highest impostors, so many times as the greatest rate lets pass."""
LEAST_GENUINE = 100
"""Genuine pairs of two cameras that make thresholds of their own worth having."""


@dataclass(frozen=True)
class Threshold:
    """The lowest score that keeps a false accept rate.

    Attributes:
        far: share of impostor pairs at or above it, at most.
        threshold: the score.
        low, high: 95 % interval of the threshold, by a bootstrap over people.
        tar: share of genuine pairs at or above it.
    """

    far: float
    threshold: float
    low: float
    high: float
    tar: float


@dataclass(frozen=True)
class NobodyHere:
    """When a search has no answer: the lowest score that keeps a false positive identification rate.

    Attributes:
        fpir: share of searches of people who are not in the gallery with any answer at or above it, at most.
        threshold: the score.
        fnir: share of searches of people who are there whose right answer is below it, or not first.
        gallery: rows of the gallery that this was measured with. A larger gallery needs a higher threshold.
    """

    fpir: float
    threshold: float
    fnir: float
    gallery: int


@dataclass(frozen=True)
class Calibration:
    """What a model's scores mean, as `calibration.json` holds it.

    Attributes:
        digest: of the model, as `model_digest` gives it.
        metric: of the scores: cosines, or negative squared Euclidean distances.
        method: how the curve was fitted.
        scores, log_odds: the curve, ascending: log of the odds that a pair is of one person, where every
            second pair is. Straight between the points, constant outside.
        thresholds: for pairs of any two cameras.
        cameras: "1-2" -> thresholds of the pairs of two cameras, where there are enough.
        nobody: for searches of people who may not be there.
        people, genuine, impostor: how many the fit has seen.
    """

    digest: str
    metric: str
    method: str
    scores: tuple[float, ...]
    log_odds: tuple[float, ...]
    thresholds: tuple[Threshold, ...]
    cameras: Mapping[str, tuple[Threshold, ...]]
    nobody: tuple[NobodyHere, ...]
    people: int
    genuine: int
    impostor: int
    format_version: int = field(default=FORMAT_VERSION)

    def probability(self, scores: Any, prior: float = 0.5) -> np.ndarray:
        r"""Probability that pairs of these scores show one person.

        `log p / (1 - p) = log_odds(score) + log prior / (1 - prior)`: the curve says what the score adds.

        Args:
            scores: float [...].
            prior: share of such pairs that show one person, before the score is known.

        Returns:
            float64 [...], from 0 to 1.
        """
        evidence = np.interp(np.asarray(scores, np.float64), self.scores, self.log_odds)
        return 1 / (1 + np.exp(-(evidence + np.log(prior / (1 - prior)))))

    def save(self, path: str | Path) -> None:
        """Write JSON, whole or not at all.

        Args:
            path: the file.
        """
        write_atomically(path, json.dumps(asdict(self), indent=1, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read what `save` wrote.

        Args:
            path: an existing file.

        Raises:
            ValueError: it is no calibration; the file is named.
        """
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
            if found["format_version"] != FORMAT_VERSION:
                raise ValueError(f"format_version {found['format_version']!r}; expected {FORMAT_VERSION}")
            found["thresholds"] = tuple(Threshold(**one) for one in found["thresholds"])
            found["nobody"] = tuple(NobodyHere(**one) for one in found["nobody"])
            found["cameras"] = {
                pair: tuple(Threshold(**one) for one in some) for pair, some in found["cameras"].items()
            }
            for name in ("scores", "log_odds"):
                found[name] = tuple(map(float, found[name]))
            made = cls(**found)
            if len(made.scores) != len(made.log_odds) or not made.scores:
                raise ValueError("scores and log_odds differ in length, or are empty")
            return made
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path} is no calibration ({error}): run `reid-gallery calibrate`") from error


def fit_curve(
    genuine: np.ndarray, impostor: np.ndarray, method: Method
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """A rising curve from scores to the log-odds of the same person, each kind of pairs weighing the same.

    Log-odds stay within those of one pair more on either side (Laplace): no score is proof.

    Args:
        genuine: float [m], scores of pairs of one person.
        impostor: float [n], of pairs of two people.
        method: "logistic" (Platt: two parameters) or "isotonic" (any rising curve).

    Returns:
        Scores, ascending, and the log-odds at each.

    Example:
        >>> scores, odds = fit_curve(np.array([0.6, 0.8]), np.array([0.1, 0.3, 0.7]), "logistic")
        >>> bool(odds[0] < 0 < odds[-1])
        True
    """
    values = np.concatenate([genuine, impostor]).astype(np.float64)
    same = np.arange(len(values)) < len(genuine)
    weights = np.where(same, 0.5 / len(genuine), 0.5 / len(impostor))
    bounds = np.array([-np.log(2 * len(impostor) + 1), np.log(2 * len(genuine) + 1)])
    if method == "logistic":
        centre, scale = float(values.mean()), float(values.std()) or 1.0
        model = LogisticRegression(C=np.inf)
        model.fit((values[:, None] - centre) / scale, same, sample_weight=weights * len(values))
        slope, offset = max(0.0, float(model.coef_[0, 0])) / scale, float(model.intercept_[0])
        ends = np.array([values.min(), values.max()])
        if slope > 0:  # the line ends where it meets the bounds
            ends = np.clip((bounds - offset) / slope + centre, *ends)
        log_odds = np.clip(slope * (ends - centre) + offset, *bounds)
        return tuple(ends.tolist()), tuple(log_odds.tolist())
    model = IsotonicRegression(y_min=0, y_max=1).fit(values, same, sample_weight=weights)
    knots, chance = model.X_thresholds_, model.y_thresholds_
    if len(knots) > KNOTS:
        kept = np.unique(np.linspace(0, len(knots) - 1, KNOTS).round().astype(int))
        knots, chance = knots[kept], chance[kept]
    with np.errstate(divide="ignore"):
        log_odds = np.clip(np.log(chance) - np.log1p(-chance), *bounds)
    return tuple(knots.tolist()), tuple(log_odds.tolist())


@dataclass(frozen=True)
class Pairs:
    """Scores of pairs of labeled rows.

    Attributes:
        scores: float [p].
        first, second: int [p], numbers of the people, from 0.
        cameras: int [p 2], those of each pair, the lower first.
        people: how many people there are.
    """

    scores: np.ndarray
    first: np.ndarray
    second: np.ndarray
    cameras: np.ndarray
    people: int

    @property
    def same(self) -> np.ndarray:
        """Whether a pair is of one person, bool [p]."""
        return self.first == self.second

    def between(self, low: int, high: int) -> Pairs:
        """The pairs of two cameras.

        Args:
            low: camera.
            high: the other.
        """
        kept = (self.cameras == (low, high)).all(axis=1)
        return Pairs(self.scores[kept], self.first[kept], self.second[kept], self.cameras[kept], self.people)


def find_thresholds(pairs: Pairs, far: Sequence[float], seed: int = 0) -> tuple[Threshold, ...]:
    """Thresholds at false accept rates, with intervals.

    The interval is a bootstrap over people: each is drawn as often as chance has it, and a pair counts the
    product of both. Pairs share people, so they are not independent, and an interval over pairs (Wilson's,
    say) would be too narrow.

    Args:
        pairs: scored.
        far: rates; those that fewer than 10 impostor pairs would pass are left out.
        seed: of the bootstrap.

    Returns:
        One per rate that can be measured.
    """
    same = pairs.same
    genuine = np.sort(pairs.scores[same])
    order = np.flatnonzero(~same)
    order = order[np.argsort(pairs.scores[order])[::-1]]
    impostor, first, second = pairs.scores[order], pairs.first[order], pairs.second[order]
    wanted = [rate for rate in far if rate * len(impostor) >= LEAST_IMPOSTORS]
    # Thresholds lie high: a resample looks at the highest scores, and knows the weight of all pairs.
    together = np.bincount(first * pairs.people + second, minlength=pairs.people**2)
    together = together.reshape(pairs.people, -1)
    top = slice(int(HIGHEST * max(wanted, default=0) * len(impostor)) + 1)
    rng = np.random.default_rng(seed)
    drawn: list[list[float]] = []
    for _ in range(RESAMPLES if wanted else 0):
        counts = np.bincount(rng.integers(0, pairs.people, pairs.people), minlength=pairs.people)
        passed = np.cumsum(counts[first[top]] * counts[second[top]])
        weight = int(counts @ together @ counts)
        if weight:
            drawn.append([_just_above(impostor[top], passed, rate * weight) for rate in wanted])
    tails = (1 - LEVEL) / 2
    found = []
    for number, rate in enumerate(wanted):
        threshold = _just_above(impostor, np.arange(1, len(impostor) + 1), rate * len(impostor))
        low, high = np.quantile([one[number] for one in drawn], (tails, 1 - tails))
        tar = 1 - np.searchsorted(genuine, threshold) / len(genuine) if len(genuine) else 0.0
        found.append(Threshold(float(rate), threshold, float(low), float(high), float(tar)))
    return tuple(found)


def _just_above(descending: np.ndarray, passed: np.ndarray, allowed: float) -> float:
    """The lowest threshold at which pairs of the weight `allowed` pass, at most."""
    place = int(np.searchsorted(passed, allowed + 1e-9, side="right"))
    return float(np.nextafter(descending[min(place, len(descending) - 1)], np.inf))
