"""What the command line does: evaluate files, re-ranked or not, and compare saved results.

Only signatures are needed for `--help`, so whatever computes is imported by the functions.
"""

from __future__ import annotations

from dataclasses import replace

from reid_eval.defaults import K1, K2, LAMBDA, LEVEL, Evaluation


def run(evaluation: Evaluation) -> None:
    """Evaluate features against the manifest that they were extracted from.

    Args:
        evaluation: what and where to.
    """
    from reid_eval.evaluation import evaluate
    from reid_eval.publishing import arguments, options, publish, read
    from reid_eval.ranking import rank

    sides = read(evaluation)
    result = evaluate(
        **arguments(*sides), far=evaluation.far, unreadable=evaluation.unreadable, **options(evaluation)
    )
    publish(
        evaluation,
        sides,
        result,
        lambda rows: rank(**arguments(*sides, rows), k=evaluation.top, **options(evaluation)),
    )


def rerank(
    evaluation: Evaluation, k1: int = K1, k2: int = K2, weight: float = LAMBDA, indices: str | None = None
) -> None:
    """Evaluate after re-ranking with k-reciprocal neighbours (Zhong et al., CVPR 2017).

    Args:
        evaluation: what and where to.
        k1: neighbours of the encoding (Zhong et al. 2017: 20)
        k2: nearest encodings that are averaged (Zhong et al. 2017: 6); 1 for none
        weight: lambda, share of the original distance, from 0 to 1 (Zhong et al. 2017: 0.3)
        indices: file to write the gallery rows of each query's first answers to, *.npy, int64 [q top], -1 for
            none
    """
    from reid_eval.evaluation import evaluate
    from reid_eval.publishing import arguments, options, publish, read, save_indices
    from reid_eval.ranking import Ranked, rank
    from reid_eval.rerank import k_reciprocal

    if indices is not None and not indices.endswith(".npy"):
        raise ValueError(f"indices={indices}: expected a name that ends in .npy")
    sides = read(evaluation)
    query, gallery = sides
    reranking = k_reciprocal(
        query.features,
        gallery.features,
        evaluation.metric,
        k1=k1,
        k2=k2,
        weight=weight,
        query_valid=query.valid,
        gallery_valid=gallery.valid,
        device=evaluation.device,
    )
    shared = {**arguments(*sides), **options(evaluation), "reranking": reranking}
    result = evaluate(**shared, far=evaluation.far, unreadable=evaluation.unreadable)
    result = replace(
        result, metric=f"{evaluation.metric}, k-reciprocal"
    )  # its scores are no cosines any more
    answers = rank(**shared, k=evaluation.top)
    if indices is not None:
        save_indices(indices, answers)
    publish(evaluation, sides, result, lambda rows: Ranked(*(values[rows] for values in answers)))


def compare(first: str, second: str, level: float = LEVEL, seed: int = 0) -> None:
    """Put two saved results side by side, with bootstrap intervals over queries.

    Where both are of the same queries, their difference gets an interval, and a paired test a p-value.

    Args:
        first: JSON file that `run --json` wrote
        second: JSON file of the other result
        level: confidence level of the intervals, between 0 and 1
        seed: number that seeds the resampling of queries
    """
    from reid_eval.publishing import print_comparison

    print_comparison(first, second, level, seed)
