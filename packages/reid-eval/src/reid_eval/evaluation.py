"""CMC, mAP and mINP under the cross-camera protocol, exactly and without sorting the gallery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from reid_eval.inputs import Array
from reid_eval.scores import Exclude, Metric, query_scores

RANKS = (1, 5, 10, 20)
"""Ranks of the CMC that papers print."""


@dataclass(frozen=True, eq=False)
class Result:
    """What an evaluation found; all values are fractions from 0 to 1.

    Attributes:
        mAP: mean average precision over the valid queries.
        mINP: mean inverse negative penalty, how soon the hardest match comes
            (Ye et al., Deep Learning for Person Re-identification: A Survey and Outlook).
        cmc: from rank to the share of valid queries with a match at that rank or before.
        cmc_curve: float64 [g], the whole curve; `cmc_curve[0]` is rank 1.
        ap: float64 [q], average precision of each query, NaN where it had no match.
        num_valid_queries: queries with at least one match in what the protocol leaves.
        num_queries: all queries.
        metric: how features were compared.
    """

    mAP: float
    mINP: float
    cmc: Mapping[int, float]
    num_valid_queries: int
    num_queries: int
    metric: str
    cmc_curve: np.ndarray = field(repr=False)
    ap: np.ndarray = field(repr=False)

    def to_dict(self) -> dict[str, float | int | str]:
        """Scalars alone, flat, ready for JSON or a tracker: mAP, mINP, rank_1, ..., and the counts."""
        ranks = {f"rank_{rank}": value for rank, value in self.cmc.items()}
        counts = {"num_valid_queries": self.num_valid_queries, "num_queries": self.num_queries}
        return {"mAP": self.mAP, "mINP": self.mINP, **ranks, **counts, "metric": self.metric}


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
    ap = np.full(num_queries, np.nan)
    inverse_penalty = np.full(num_queries, np.nan)
    first_match = np.zeros(num_gallery, dtype=np.int64)
    for query, scores, positives in stream:
        if not len(positives):
            continue
        matches = match_ranks(scores, positives)
        found = np.arange(1, len(matches) + 1)
        ap[query] = np.mean(found / matches)
        inverse_penalty[query] = len(matches) / matches[-1]
        first_match[matches[0] - 1] += 1

    valid = ~np.isnan(ap)
    if not valid.any():
        raise ValueError(
            f"no valid query: none of the {num_queries} queries has a gallery row of its pid from another "
            "camera. Check that query_pids and gallery_pids number the same people, and that camids are "
            "known and differ"
        )
    curve = np.cumsum(first_match) / valid.sum()
    return Result(
        mAP=float(ap[valid].mean()),
        mINP=float(inverse_penalty[valid].mean()),
        cmc={rank: float(curve[min(rank, num_gallery) - 1]) for rank in ranks},
        num_valid_queries=int(valid.sum()),
        num_queries=num_queries,
        metric=metric,
        cmc_curve=curve,
        ap=ap,
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
