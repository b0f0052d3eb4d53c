"""CMC, mAP, mINP and TAR@FAR under any protocol, exactly, with a few queries' scores in memory at a time."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, get_args

import numpy as np
import torch

from reid_eval.counting import AveragePrecision, PerQuery, match_ranks, per_query
from reid_eval.defaults import RANKS, Metric, Unreadable
from reid_eval.inputs import Array, Features, Protocol, check_inputs
from reid_eval.protocols import cross_camera, protocol_name
from reid_eval.rerank import Reranking
from reid_eval.roc import Roc, ScoreHistogram, checked_far, leading_counts, rates
from reid_eval.scores import tiles
from reid_eval.unmatched import describe_unmatched

ARRAYS = {
    **{"valid_queries": np.int64, "ap": np.float64, "inp": np.float64, "first_ranks": np.int64},
    **{"unreadable_queries": np.int64, "unreadable_gallery": np.int64},
}
"""Arrays of a result; the first four have one entry per valid query."""


def _none() -> np.ndarray:
    return np.empty(0, dtype=np.int64)


def _hits(first_ranks: np.ndarray, rank: int) -> np.ndarray:
    return (first_ranks > 0) & (first_ranks <= rank)


class NoValidQuery(ValueError):
    """No query has a right answer among the gallery rows that count."""


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
        first_ranks: int64 [v], rank of the first match of each, from 1; 0 where the query or all its matches
            are unreadable.
        tar: from false accept rate to true accept rate, as asked for by `far`.
        roc: points of the ROC, where `far` was given.
        score_histogram: spread of the scores, where `far` was given.
        unreadable_queries: int64, rows of the queries that hold no feature.
        unreadable_gallery: int64, rows of the gallery that hold no feature.
        unreadable: whether those count as misses ("miss") or enter nothing ("leave_out").
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
    unreadable_queries: np.ndarray = field(default_factory=_none, repr=False)
    unreadable_gallery: np.ndarray = field(default_factory=_none, repr=False)
    unreadable: Unreadable = "miss"

    @property
    def num_valid_queries(self) -> int:
        """Queries that enter the means."""
        return len(self.valid_queries)

    def found_by(self, rank: int) -> np.ndarray:
        """Whether each valid query has a match at that rank or before, bool [v]."""
        return _hits(self.first_ranks, rank)

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
            "num_unreadable_queries": len(self.unreadable_queries),
            "num_unreadable_gallery": len(self.unreadable_gallery),
            "metric": self.metric,
            "protocol": self.protocol,
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON: the summary flat, and each array as a list under its name."""
        found: dict[str, Any] = self.summary()
        found |= {name: getattr(self, name).tolist() for name in ARRAYS} | {"unreadable": self.unreadable}
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
            arrays: dict[str, Any] = {name: np.array(found[name], dtype) for name, dtype in ARRAYS.items()}
            return cls(
                mAP=found["mAP"],
                mINP=found["mINP"],
                cmc={int(key[5:]): value for key, value in found.items() if key.startswith("rank_")},
                tar={float(key[4:]): value for key, value in found.items() if key.startswith("tar_")},
                **{
                    name: found[name]
                    for name in ("num_queries", "num_gallery", "metric", "protocol", "unreadable")
                },
                **arrays,
                roc=roc and Roc(*(np.array(roc[name], np.float64) for name in Roc._fields)),
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
    query_features: Features,
    gallery_features: Features,
    query_pids: Array,
    gallery_pids: Array,
    query_camids: Array | None = None,
    gallery_camids: Array | None = None,
    metric: Metric = "cosine",
    ranks: Sequence[int] = RANKS,
    far: Sequence[float] = (),
    *,
    protocol: Protocol = cross_camera,
    query_columns: Mapping[str, Array] | None = None,
    gallery_columns: Mapping[str, Array] | None = None,
    query_valid: Array | None = None,
    gallery_valid: Array | None = None,
    unreadable: Unreadable = "miss",
    average_precision: AveragePrecision = "standard",
    reranking: Reranking | None = None,
    device: str | torch.device = "cpu",
) -> Result:
    """CMC, mAP, mINP and TAR@FAR of queries against a gallery, exactly.

    A row is an image, a whole tracklet or a template, so image, video and image-to-video retrieval are the
    same call. What counts is the protocol's to say; by default, as Market-1501 and MARS are scored, all but
    the gallery rows of the query's own person and camera. Gallery rows with pid -1 (junk) never count.
    Everything else does: Market-1501's distractors (pid 0) are wrong answers because no query has their pid;
    where pids start at 0 a query may have pid 0 like any other. A query without a remaining match is not
    valid and enters no mean; a warning names the first of them and says why. Where a row stands on both sides
    (MARS' queries are in its gallery too), give its name in the column "item" of both: a query never meets
    its own item, and other rows of its person count by the protocol.

    A picture that can't be read has no feature. `query_valid` and `gallery_valid` mark the rows that have
    one; whatever the others hold is never looked at. They count as misses: a query without a feature has AP
    0 and no rank, a gallery row without one is never found, so that its precision is 0 and in TAR@FAR its
    genuine pairs are rejected. FAR is over the impostor pairs that have a score. With
    `unreadable="leave_out"` the result is that of the readable rows alone.

    Ties: of gallery rows with equal scores the earlier one ranks first, as in a stable argsort; equal means
    equal as computed, in float64 where either side is float64 and in float32 otherwise. In TAR@FAR equal
    scores pass a threshold together.

    Memory: some queries' scores at a time (64 MB on a CPU, or 64 queries), and nothing else that grows with
    queries times gallery. Features in half precision or on disk are converted a few thousand rows at a time.
    Exact TAR@FAR compares all features twice (four times in float64).

    Args:
        query_features: float [q d], NumPy or torch, on any device or memory-mapped.
        gallery_features: float [g d].
        query_pids: int [q], the person.
        gallery_pids: int [g].
        query_camids: int [q], the camera; may be left out where the protocol asks for none.
        gallery_camids: int [g].
        metric: "cosine" or "euclidean". Scores in the result are cosines or negative squared distances.
        ranks: ranks to report, from 1; one past the gallery's end has the curve's last value.
        far: false accept rates to report TAR at, such as (1e-4, 1e-3); with any, ROC and score histogram too.
        protocol: which pairs count, from `reid_eval.protocols` or your own.
        query_columns: further columns that the protocol reads, by name: integers or text [q] each.
        gallery_columns: the same names, [g] each.
        query_valid: bool [q], False where a row holds no feature; None for all True.
        gallery_valid: bool [g], the same of the gallery.
        unreadable: "miss", or "leave_out" for rows without a feature to enter nothing.
        average_precision: "standard", or "trapezoid" as in Market-1501's own code.
        reranking: of `k_reciprocal` on the same features: score by its distances instead.
        device: where features are multiplied and counted.

    Returns:
        A Result with fractions from 0 to 1.

    Raises:
        TypeError: features that are not floating point, ids that are not integers, masks that are no bool.
        ValueError: lengths that differ, NaN or infinite features or scores, zero rows under cosine, no valid
            query, ranks below 1, rates outside 0 to 1, a column that the protocol misses.

    Example:
        >>> import numpy as np
        >>> query, gallery = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 0.1], [1.0, 0.2]])
        >>> result = evaluate(query, gallery, [7], [8, 9, 7], [1], [2, 2, 2], ranks=(1, 2), far=(0.5,))
        >>> result.mAP, result.cmc[1], result.cmc[2], result.tar[0.5], result.num_valid_queries
        (0.5, 0.0, 1.0, 1.0, 1)
    """
    ranks, far = _ranks(ranks), checked_far(far)
    for name, value, known in (
        ("average_precision", average_precision, get_args(AveragePrecision)),
        ("unreadable", unreadable, get_args(Unreadable)),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {known}, got {value!r}")
    retrieval = check_inputs(
        query_features,
        gallery_features,
        query_pids,
        gallery_pids,
        query_camids,
        gallery_camids,
        metric,
        protocol,
        query_columns,
        gallery_columns,
        query_valid,
        gallery_valid,
        device,
    )
    passes = partial(tiles, retrieval, reranking.block(retrieval) if reranking else None)
    found: list[PerQuery] = []
    counts: np.ndarray | int = 0
    missed = 0
    for tile in passes():
        rows, places = tile.rows, match_ranks(tile.scores, tile.rows, tile.cols)
        if unreadable == "miss" and len(tile.missed):
            rows, places = torch.cat([rows, tile.missed]), np.pad(places, (0, len(tile.missed)))
            missed += len(tile.missed)
        found.append(per_query(tile.start + rows.cpu().numpy(), places, average_precision))
        if far:
            counts = counts + leading_counts(tile)
    whole = PerQuery(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
    if len(whole.queries) < len(query_features):
        text = describe_unmatched(retrieval, whole.queries, unreadable)
        if not len(whole.queries):
            raise NoValidQuery(f"no valid query: {text}")
        warnings.warn(text, stacklevel=2)
    pairs = rates(np.asarray(counts), tile.scores.dtype, far, passes, missed) if far else None
    return Result(
        mAP=float(np.mean(whole.ap)),
        mINP=float(np.mean(whole.inp)),
        cmc={rank: float(np.mean(_hits(whole.first_ranks, rank))) for rank in ranks},
        num_queries=len(query_features),
        num_gallery=len(gallery_features),
        metric=metric,
        protocol=protocol_name(protocol),
        valid_queries=whole.queries,
        ap=whole.ap,
        inp=whole.inp,
        first_ranks=whole.first_ranks,
        unreadable_queries=np.flatnonzero(~retrieval.query_valid.cpu().numpy()),
        unreadable_gallery=np.flatnonzero(~retrieval.gallery_valid.cpu().numpy()),
        unreadable=unreadable,
        **(pairs._asdict() if pairs else {}),
    )


def _ranks(ranks: Sequence[int]) -> tuple[int, ...]:
    whole = tuple(int(rank) for rank in ranks)
    if not whole or min(whole) < 1 or whole != tuple(ranks):
        raise ValueError(f"ranks must be whole numbers from 1, at least one of them, got {tuple(ranks)}")
    return whole


def _scientific(number: float) -> str:
    """The shortest text that reads back as the same number: 1e-4."""
    return np.format_float_scientific(number, trim="-", exp_digits=1)
