"""Criteria for given features: from distances within tracklets and between them, or from labels."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from reid_denoise.constraints import check_constraints
from reid_denoise.criteria import FURTHEST_COSINE, LINKINGS, Criteria, Linking
from reid_denoise.distances import centroids, sums
from reid_denoise.layout import NOWHERE, Ids, as_ids, as_valid, check_rows, check_shape, lay_out
from reid_denoise.linking import candidates, group
from reid_denoise.scores import score
from reid_denoise.video import merge
from reid_denoise.window import Between, Window, between, cut_window, deviations

FEWEST = 50
"""Distances of a kind without which nothing is chosen from them."""
STEPS = 2000
"""Thresholds tried."""
LINKED = 40
"""Thresholds for which labelled people are linked."""
LEAST_WRONG = 0.01
"""Part of the images that may be wrong even where none was found to be."""
TAIL = (0.02, 0.1)
"""Different pairs between these quantiles tell their lower tail: of nearer ones, some may be one person."""
TOLERANCE = 0.002
"""Losses that differ by less are equal: of all such thresholds the middle is taken."""
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True)
class CalibrationReport:
    """What criteria were chosen from, and what to expect of them on the tracklets that were looked at.

    Args:
        source: what told different people apart: "labels", "cannot_link" or "tracklets".
        linking: that the criteria are for.
        tracklets: looked at.
        images: of those.
        own: QUANTILES of the distance of an image from the others of its tracklet.
        other: the same of its distance from another person's tracklet.
        apart: the same of the distance between two tracklets.
        wrong: part of the images that are not of their tracklet's person, as estimated.
        discarded: part of the images that are sigma_cst or more away from the others of their tracklet.
        wrong_kept: part of the images below it that are wrong all the same, as estimated.
        links: pairs of tracklets in range within sigma_drm.
        false_merges: of those, the pairs of different people, as estimated; with labels, how many people too
            many the identities hold.
    """

    source: str
    linking: str
    tracklets: int
    images: int
    own: tuple[float, ...]
    other: tuple[float, ...]
    apart: tuple[float, ...]
    wrong: float
    discarded: float
    wrong_kept: float
    links: int
    false_merges: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it, with the quantiles' parts."""
        return asdict(self) | {"quantiles": QUANTILES}


class Calibration(NamedTuple):
    """Criteria, and what they were chosen from."""

    criteria: Criteria
    report: CalibrationReport


def calibrate_criteria(
    features: np.ndarray,
    tracklets: Ids,
    videos: Ids,
    *,
    valid: np.ndarray | None,
    pids: Ids | None = None,
    cannot_link: np.ndarray | None = None,
    linking: Linking = "closure",
    half_range: int = Criteria.half_range,
    metric: str = Criteria.metric,
    seed: int = 0,
) -> Calibration:
    """Choose sigma_cst and sigma_drm for features, with labels or without.

    sigma_cst minimises the images that single-tracklet denoising takes for what they are not. With labels,
    right images' distances from their tracklets, and other people's, are known. Without, the images of a
    tracklet are a mixture: a part of them is as far away as images are from a tracklet of somebody else (one
    that cannot be linked, else another one of their video), and its size follows from the far half of those.

    sigma_drm, with labels, maximises the pairwise F1 of linking the labelled tracklets. Without, it maximises
    the expected F1 of links. How many pairs are within a threshold is counted. How many of them are of
    different people follows from an exponential lower tail of the distances of all pairs, few of which are of
    one person, or of those that cannot be one (else of those of one video), whichever gives less. Under the
    closure d false links a person chain people together, so that about d of all found pairs are wrong.

    Args:
        features: float [n d], as `denoise` takes it, with the next three.
        tracklets: int [n].
        videos: int [n].
        valid: bool [n] or None.
        pids: int [n], who is on the images, -1 for unknown: the labelled people to choose by. None for none.
        cannot_link: int [p 2], pairs of tracklets that are never one person, such as `simultaneous` ones.
        linking: that will be used.
        half_range: that will be used.
        metric: that will be used.
        seed: of the draws; of more than WINDOW tracklets, a run of as many is looked at.

    Returns:
        The criteria, and a report of the distances and of what to expect.

    Raises:
        TypeError, ValueError: as `denoise`, or too few distances of a kind to choose by.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> tracklets = np.repeat(np.arange(60), 8)
        >>> features = rng.normal(size=(20, 64))[tracklets % 20] + 0.3 * rng.normal(size=(480, 64))
        >>> criteria, report = calibrate_criteria(features, tracklets, tracklets // 6, valid=None)
        >>> 0.1 < criteria.consistency < 0.7, 0.02 < criteria.discrimination < 0.7, report.source
        (True, True, 'tracklets')
    """
    if linking not in LINKINGS:
        raise ValueError(f"linking={linking!r}: expected one of {', '.join(LINKINGS)}")
    criteria = Criteria(half_range=half_range, metric=metric)
    check_shape(features)
    layout = lay_out(features, tracklets, videos, as_valid(valid, len(features)))
    constraints = check_constraints(cannot_link, None, tracklets, layout.names)
    people = None if pids is None else as_ids(pids, "pids", len(features), least=NOWHERE)
    check_rows(features, metric, layout.tracklet != NOWHERE)
    rng = np.random.default_rng(seed)
    window = cut_window(layout, constraints, people, rng)
    own, other = deviations(features, window, metric, rng)
    for name, distances in (("tracklets of two images or more", own), ("different tracklets", other)):
        if len(distances) < FEWEST:
            raise ValueError(
                f"{len(distances)} distances within or between {name}; expected {FEWEST} or more"
            )
    consistency, wrong, discarded, kept = _consistency(own, other, window)
    criteria = replace(criteria, consistency=consistency)
    found = between(features, window, criteria)
    if len(found.distance) < FEWEST:
        raise ValueError(f"{len(found.distance)} pairs of tracklets in range; expected {FEWEST} or more")
    choose = _linked_discrimination if people is not None else _expected_discrimination
    discrimination, false_merges = choose(found, window, criteria, linking)
    criteria = replace(criteria, discrimination=discrimination)
    held = len(window.constraints.cannot) > 0
    report = CalibrationReport(
        source="labels" if people is not None else "cannot_link" if held else "tracklets",
        linking=linking,
        tracklets=len(window.lengths),
        images=len(window.rows),
        own=_quantiles(own),
        other=_quantiles(other),
        apart=_quantiles(found.distance),
        wrong=wrong,
        discarded=discarded,
        wrong_kept=kept,
        links=int(np.count_nonzero(found.distance <= discrimination)),
        false_merges=false_merges,
    )
    return Calibration(criteria, report)


def _consistency(own: np.ndarray, other: np.ndarray, window: Window) -> tuple[float, float, float, float]:
    """sigma_cst, and the parts of images that are wrong, set aside, and wrong but kept."""
    thresholds = np.linspace(0, np.quantile(other, 0.9), STEPS + 1)[1:]
    far = _share_at_least(other, thresholds)
    if window.right is not None:
        wrong = max(float(np.mean(~window.right)), LEAST_WRONG)
        right = _share_at_least(own, thresholds)
    else:
        middle = np.median(other)
        wrong = float(np.clip(np.mean(own >= middle) / np.mean(other >= middle), LEAST_WRONG, 0.5))
        right = np.clip((_share_at_least(own, thresholds) - wrong * far) / (1 - wrong), 0, 1)
        right = np.minimum.accumulate(right)
    loss = (1 - wrong) * right + wrong * (1 - far)
    error = np.sqrt(max(loss.min(), 1 / len(own)) / len(own))  # of a share of so many images
    chosen = _middle(loss, error)
    discarded = float((1 - wrong) * right[chosen] + wrong * far[chosen])
    kept = float(wrong * (1 - far[chosen]) / max(1 - discarded, 1 / len(own)))
    return float(thresholds[chosen]), wrong, discarded, kept


def _expected_discrimination(
    found: Between, window: Window, criteria: Criteria, linking: Linking
) -> tuple[float, float]:
    """sigma_drm by the expected F1 of links, and the expected links of different people."""
    known = [found.distance] + ([found.apart] if len(found.apart) * TAIL[0] >= 1 else [])
    top = max(np.quantile(distances, TAIL[0]) for distances in known)
    thresholds = np.linspace(0, min(float(top), _furthest(criteria)), STEPS + 1)[1:]
    share = np.minimum.reduce([_lower_tail(distances, thresholds) for distances in known])
    links = np.searchsorted(np.sort(found.distance), thresholds, side="right")
    false = np.minimum(share * len(found.distance), links)
    true = links - false
    if linking == "closure":
        people = np.maximum(np.count_nonzero(found.counts) - true, 1)
        precision = np.maximum(1 - 2 * false / people, 0)
    else:
        precision = true / np.maximum(links, 1)
    recall = true / max(true.max(), 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    chosen = _middle(-f1, TOLERANCE)
    return float(thresholds[chosen]), float(false[chosen])


def _linked_discrimination(
    found: Between, window: Window, criteria: Criteria, linking: Linking
) -> tuple[float, float]:
    """sigma_drm by the F1 of linking labelled tracklets, and the people too many in their identities."""
    same = found.distance[found.same]
    if not len(same):
        raise ValueError("pids: no person has two tracklets in range of each other, so nothing can be linked")
    thresholds = np.unique(np.quantile(same, np.linspace(0, 1, LINKED)))
    thresholds = thresholds[(thresholds > 0) & (thresholds <= _furthest(criteria))]
    owner = np.where(found.kept, np.repeat(np.arange(len(window.lengths)), window.lengths), NOWHERE)
    f1, extra = [], []
    for threshold in thresholds.tolist():
        label = _link(found, window, replace(criteria, discrimination=threshold), linking)
        f1.append(score(np.where(owner == NOWHERE, NOWHERE, label[owner]), window.pids).f1)
        known = found.people != NOWHERE
        together = np.unique(np.stack([label[known], found.people[known]]), axis=1)
        extra.append(together.shape[1] - len(np.unique(together[0])))
    chosen = _middle(-np.array(f1), TOLERANCE)
    return float(thresholds[chosen]), float(extra[chosen])


def _link(found: Between, window: Window, criteria: Criteria, linking: Linking) -> np.ndarray:
    """The identity [t] of each tracklet, linked within videos and then across them; -1 without images."""
    metric = criteria.metric
    inside = merge(
        centroids(found.totals, found.counts, metric),
        *(found.counts, window.videos, criteria, linking, window.constraints),
    )
    members, place = np.unique(inside[found.counts > 0], return_inverse=True)
    position = np.full(len(inside), NOWHERE)
    position[found.counts > 0] = place
    totals = sums(found.totals[found.counts > 0], place, len(members))
    centres = centroids(totals, np.bincount(place, found.counts[found.counts > 0]), metric)
    near = candidates(centres, len(centres), criteria.half_range, criteria)
    constraints = window.constraints.rename(position)
    label = group(near, centres, window.videos[members], linking, criteria, constraints)
    return np.where(position == NOWHERE, NOWHERE, label[position])


def _furthest(criteria: Criteria) -> float:
    return FURTHEST_COSINE if criteria.metric == "cosine" else np.inf


def _share_at_least(distances: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    return 1 - np.searchsorted(np.sort(distances), thresholds, side="left") / len(distances)


def _lower_tail(distances: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """The share of different pairs within each threshold, exponential below the lower of TAIL's quantiles."""
    low, high = np.quantile(distances, TAIL)
    scale = max((high - low) / np.log(TAIL[1] / TAIL[0]), np.finfo(np.float32).eps)
    counted = np.searchsorted(np.sort(distances), thresholds, side="right") / len(distances)
    return np.where(thresholds < low, TAIL[0] * np.exp(-np.maximum(low - thresholds, 0) / scale), counted)


def _middle(loss: np.ndarray, tolerance: float) -> int:
    """The middle of the thresholds around the best one whose loss is as good within a tolerance."""
    best = int(loss.argmin())
    worse = np.flatnonzero(loss > loss[best] + tolerance)
    before, after = worse[worse < best], worse[worse > best]
    first = before[-1] + 1 if len(before) else 0
    last = after[0] - 1 if len(after) else len(loss) - 1
    return int((first + last) // 2)


def _quantiles(distances: np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in np.quantile(distances, QUANTILES))
