"""CMC, mAP and mINP under the cross-camera protocol, exactly and without sorting the gallery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from reid_eval.inputs import Array
from reid_eval.scores import Exclude, Metric, query_scores

RANKS = (1, 5, 10, 20)
"""Ranks of the CMC that papers print."""

PER_QUERY = {"valid_queries": np.int64, "ap": np.float64, "inp": np.float64, "first_ranks": np.int64}
"""Arrays of a result with an entry a valid query."""


class Roc(NamedTuple):
    """Exact points of the receiver operating characteristic over all valid pairs.

    Attributes:
        far: float64 [k], false accept rate: the share of impostor pairs at or above a threshold, ascending.
        tar: float64 [k], true accept rate: the share of genuine pairs at or above it.
    """

    far: np.ndarray
    tar: np.ndarray


class ScoreHistogram(NamedTuple):
    """How the scores of genuine and impostor pairs spread.

    Attributes:
        edges: float64 [n + 1], ascending; a bin holds its left edge, the last one both.
        genuine: int64 [n], valid pairs of one person.
        impostor: int64 [n], valid pairs of two people.
    """

    edges: np.ndarray
    genuine: np.ndarray
    impostor: np.ndarray


@dataclass(frozen=True, eq=False)
class Result:
    """What an evaluation found; rates are fractions from 0 to 1.

    Attributes:
        mAP: mean average precision over the valid queries.
        mINP: mean inverse negative penalty, how soon the hardest match comes
            (Ye et al., Deep Learning for Person Re-identification: A Survey and Outlook).
        cmc: from rank to the share of valid queries with a match at that rank or before.
        num_queries: all queries.
        num_gallery: rows of the gallery.
        metric: how features were compared.
        protocol: name of what decided which pairs count.
        valid_queries: int64 [v], rows of the queries with at least one match in what the protocol leaves.
        ap: float64 [v], average precision of each valid query.
        inp: float64 [v], inverse negative penalty of each.
        first_ranks: int64 [v], rank of the first match of each, from 1.
        tar: from false accept rate to true accept rate, as asked for by `far`.
        roc: points of the ROC, where `far` was given.
        score_histogram: spread of the scores, where `far` was given.
    """

    mAP: float
    mINP: float
    cmc: Mapping[int, float]
    num_queries: int
    num_gallery: int
    metric: str
    protocol: str
    valid_queries: np.ndarray = field(repr=False)
    ap: np.ndarray = field(repr=False)
    inp: np.ndarray = field(repr=False)
    first_ranks: np.ndarray = field(repr=False)
    tar: Mapping[float, float] = field(default_factory=dict)
    roc: Roc | None = field(default=None, repr=False)
    score_histogram: ScoreHistogram | None = field(default=None, repr=False)

    @property
    def num_valid_queries(self) -> int:
        """Queries that enter the means."""
        return len(self.valid_queries)

    @property
    def cmc_curve(self) -> np.ndarray:
        """The whole curve, float64 [num_gallery]; `cmc_curve[0]` is rank 1."""
        firsts = np.bincount(self.first_ranks, minlength=self.num_gallery + 1)[1:]
        return np.cumsum(firsts) / self.num_valid_queries

    def summary(self) -> dict[str, float | int | str]:
        """Scalars alone, flat, for tables and trackers: mAP, mINP, rank_1, tar_1e-4, counts and names."""
        return {
            "mAP": self.mAP,
            "mINP": self.mINP,
            **{f"rank_{rank}": value for rank, value in self.cmc.items()},
            **{f"tar_{_scientific(far)}": value for far, value in self.tar.items()},
            "num_valid_queries": self.num_valid_queries,
            "num_queries": self.num_queries,
            "num_gallery": self.num_gallery,
            "metric": self.metric,
            "protocol": self.protocol,
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON: the summary flat, and each array as a list under its name."""
        found: dict[str, Any] = self.summary()
        found |= {name: getattr(self, name).tolist() for name in PER_QUERY}
        for name in ("roc", "score_histogram"):
            value = getattr(self, name)
            found[name] = value and {key: array.tolist() for key, array in value._asdict().items()}
        return found

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Result:
        """The result that `to_dict` wrote.

        Raises:
            ValueError: a key is missing.
        """
        try:
            roc, histogram = found["roc"], found["score_histogram"]
            arrays: dict[str, Any] = {name: np.array(found[name], dtype) for name, dtype in PER_QUERY.items()}
            return cls(
                mAP=found["mAP"],
                mINP=found["mINP"],
                cmc={int(key[5:]): value for key, value in found.items() if key.startswith("rank_")},
                tar={float(key[4:]): value for key, value in found.items() if key.startswith("tar_")},
                **{name: found[name] for name in ("num_queries", "num_gallery", "metric", "protocol")},
                **arrays,
                roc=roc and Roc(**{key: np.array(values, np.float64) for key, values in roc.items()}),
                score_histogram=histogram
                and ScoreHistogram(
                    np.array(histogram["edges"], np.float64),
                    np.array(histogram["genuine"], np.int64),
                    np.array(histogram["impostor"], np.int64),
                ),
            )
        except KeyError as error:
            raise ValueError(f"this is no saved result: {error.args[0]!r} is missing") from None


def evaluate(
    query_features: np.ndarray | torch.Tensor,
    gallery_features: np.ndarray | torch.Tensor,
    query_pids: Array,
    gallery_pids: Array,
    query_camids: Array,
    gallery_camids: Array,
    metric: Metric = "cosine",
    ranks: Sequence[int] = RANKS,
    *,
    query_tracklets: Array | None = None,
    gallery_tracklets: Array | None = None,
    exclude: Exclude | None = None,
    device: str | torch.device = "cpu",
) -> Result:
    """CMC, mAP and mINP of queries against a gallery, cross-camera as Market-1501 and MARS are scored.

    For each query, gallery rows of the same person from the same camera are left out, and so are rows
    with pid -1 (junk). Everything else counts: Market-1501's distractors (pid 0) are wrong answers because
    no query has their pid; where pids start at 0 a query may have pid 0 like any other. A query without a
    remaining match is not valid and enters no mean.

    A row is an image or a whole tracklet, so image, video and image-to-video retrieval are the same call. For
    image-to-video, a query frame's own tracklet is of the same person and camera and so already left out;
    the tracklet ids leave it out by name, should ids be noisy.

    The rank of a match is the count of gallery rows that score higher, plus the equal ones that come earlier
    in the gallery: what a stable argsort would give, without the argsort. Equal means equal as computed, in
    float64 where either side is float64 and in float32 otherwise.

    Args:
        query_features: float [q d], NumPy or torch, on any device or memory-mapped.
        gallery_features: float [g d].
        query_pids: int [q], the person.
        gallery_pids: int [g].
        query_camids: int [q], the camera.
        gallery_camids: int [g].
        metric: "cosine" or "euclidean".
        ranks: ranks to report, from 1; one past the gallery's end has the curve's last value.
        query_tracklets: int [q], the tracklet that a query frame is from, -1 for none.
        gallery_tracklets: int [g]; rows of the query's own tracklet are left out.
        exclude: from a query's row to a bool [g] of gallery rows to leave out besides.
        device: where features are multiplied.

    Returns:
        A Result with fractions from 0 to 1.

    Raises:
        TypeError: features that are not floating point, ids that are not integers.
        ValueError: lengths that differ, NaN or infinite features, zero rows under cosine, no valid query,
            ranks below 1.

    Example:
        >>> import numpy as np
        >>> query, gallery = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 0.1], [1.0, 0.2]])
        >>> result = evaluate(query, gallery, [7], [8, 9, 7], [1], [2, 2, 2], ranks=(1, 2))
        >>> result.mAP, result.cmc[1], result.cmc[2], result.num_valid_queries
        (0.5, 0.0, 1.0, 1)
    """
    ranks = _ranks(ranks)
    stream = query_scores(
        query_features,
        gallery_features,
        query_pids,
        gallery_pids,
        query_camids,
        gallery_camids,
        metric,
        query_tracklets=query_tracklets,
        gallery_tracklets=gallery_tracklets,
        exclude=exclude,
        device=device,
    )
    num_queries, num_gallery = len(query_features), len(gallery_features)
    valid, ap, inp, first = [], [], [], []
    for query, scores, positives in stream:
        if not len(positives):
            continue
        matches = match_ranks(scores, positives)
        valid.append(query)
        ap.append(np.mean(np.arange(1, len(matches) + 1) / matches))
        inp.append(len(matches) / matches[-1])
        first.append(matches[0])
    if not valid:
        raise ValueError(
            f"no valid query: none of the {num_queries} queries has a gallery row of its pid from another "
            "camera. Check that query_pids and gallery_pids number the same people, and that camids are "
            "known and differ"
        )
    firsts = np.array(first, dtype=np.int64)
    return Result(
        mAP=float(np.mean(ap)),
        mINP=float(np.mean(inp)),
        cmc={rank: float(np.mean(firsts <= rank)) for rank in ranks},
        num_queries=num_queries,
        num_gallery=num_gallery,
        metric=metric,
        protocol="cross_camera",
        valid_queries=np.array(valid, dtype=np.int64),
        ap=np.array(ap),
        inp=np.array(inp),
        first_ranks=firsts,
    )


def match_ranks(scores: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Ranks from 1 of the right answers, ascending: int64 [p].

    The rank of row j is one more than the rows before it that score at least as high and the rows after it
    that score higher, which is its place in a stable descending argsort. Rows left out score -inf and so
    never count.

    Args:
        scores: float [g], higher is nearer.
        positives: int [p], rows of the right answers.

    Example:
        >>> match_ranks(np.array([0.5, 0.9, 0.5, 0.7]), np.array([2, 3]))
        array([2, 4])
    """
    ranks = [
        1 + np.count_nonzero(scores[:row] >= scores[row]) + np.count_nonzero(scores[row + 1 :] > scores[row])
        for row in positives
    ]
    return np.sort(np.asarray(ranks, dtype=np.int64))


def _ranks(ranks: Sequence[int]) -> tuple[int, ...]:
    whole = tuple(int(rank) for rank in ranks)
    if not whole or min(whole) < 1 or whole != tuple(ranks):
        raise ValueError(f"ranks must be whole numbers from 1, at least one of them, got {tuple(ranks)}")
    return whole


def _scientific(number: float) -> str:
    """The shortest text that reads back as the same number: 1e-4."""
    return np.format_float_scientific(number, trim="-", exp_digits=1)
